// Package golden compares a text with the one recorded in testdata. Run the tests of a package with -update to
// record anew, and read the difference before committing it.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "record the golden files anew")

// Updating reports whether the run records golden files anew.
func Updating() bool { return *update }

// Check compares got with testdata/<name>.golden. A missing file fails, save with -update.
func Check(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name)+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatalf("record golden: %v", err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatalf("record golden: %v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read golden: %v (run with -update to record it)", err)
	}
	text := strings.ReplaceAll(string(want), "\r\n", "\n")
	if text != got {
		t.Errorf("%s differs (-recorded +now):\n%s", path, cmp.Diff(text, got))
	}
}
