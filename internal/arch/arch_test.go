package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

type listed struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

// packages asks the go command for every package of the module; tests are left out on purpose: a test may use
// any real part it needs.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", Module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list output: %v", err)
		}
		all = append(all, p)
	}
}

func ruleOf(folder string) (Rule, bool) {
	var best Rule
	found := false
	for _, r := range Rules {
		if (folder == r.Folder || strings.HasPrefix(folder, r.Folder+"/")) && (!found || len(r.Folder) > len(best.Folder)) {
			best, found = r, true
		}
	}
	return best, found
}

func (r Rule) allows(folder, target string) bool {
	if strings.HasPrefix(target, "internal/") || target == folder || target == r.Folder || strings.HasPrefix(target, folder+"/") {
		return true
	}
	for _, m := range r.May {
		if base, deep := strings.CutSuffix(m, "/..."); target == m || deep && (target == base || strings.HasPrefix(target, base+"/")) {
			return true
		}
	}
	return false
}

// generatedList reports the one package that may import plug-ins: the list of a plug-in kind.
func generatedList(folder string) bool {
	return folder == "sensor/protocol" || folder == "sensor/engine"
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		folder := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, Module), "/")
		if folder == "" {
			continue
		}
		rule, ok := ruleOf(folder)
		if !ok {
			t.Errorf("%s: no rule names this folder; add it to Rules with what it may import", folder)
			continue
		}
		if rule.CGOFree && len(p.CgoFiles) > 0 {
			t.Errorf("%s: uses cgo, but must build without it", folder)
		}
		for _, imported := range p.Imports {
			target, ours := strings.CutPrefix(imported, Module+"/")
			if !ours {
				if rule.CGOFree && strings.Contains(imported, "duckdb") {
					t.Errorf("%s: imports %s, but must build without cgo", folder, imported)
				}
				continue
			}
			plugin := path.Dir(target) == "sensor/protocol" || path.Dir(target) == "sensor/engine"
			switch {
			case plugin && !generatedList(folder):
				t.Errorf("%s: imports the plug-in %s; only its generated list may", folder, target)
			case plugin:
			case !rule.allows(folder, target):
				t.Errorf("%s: may not import %s (allowed: %s)", folder, target, strings.Join(rule.May, ", "))
			}
		}
	}
}

// TestRulesAreTrue keeps the list from rotting: a rule for a folder that is gone must go too.
func TestRulesAreTrue(t *testing.T) {
	var folders []string
	for _, p := range packages(t) {
		folders = append(folders, strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, Module), "/"))
	}
	for _, r := range Rules {
		found := false
		for _, f := range folders {
			found = found || f == r.Folder || strings.HasPrefix(f, r.Folder+"/")
		}
		if !found {
			t.Errorf("rule for %q: no such folder", r.Folder)
		}
	}
}
