package pluglist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCheckFindsMissingPlugin(t *testing.T) {
	root := t.TempDir()
	spec := Protocols(root)
	write(t, filepath.Join(spec.Folder, "beta", "beta.go"), "package beta\n\nvar Protocol = 1\n")
	write(t, filepath.Join(spec.Folder, "alpha", "alpha.go"), "package alpha\n\nvar (\n\tProtocol = 1\n)\n")
	write(t, filepath.Join(spec.Folder, "testdata", "x.go"), "package x\n")
	write(t, filepath.Join(spec.Folder, "data", "readme.txt"), "no code")
	source, err := Generate(spec)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(source); !strings.Contains(text, "alpha.Protocol,\n\tbeta.Protocol,\n") {
		t.Errorf("list does not hold both plug-ins in order:\n%s", text)
	}
	write(t, filepath.Join(spec.Folder, File), string(source))
	if err := Check(spec); err != nil {
		t.Errorf("fresh list: %v", err)
	}
	write(t, filepath.Join(spec.Folder, "gamma", "gamma.go"), "package gamma\n\nvar Protocol = 1\n")
	if err := Check(spec); err == nil {
		t.Error("a list without gamma passed")
	}
}

func TestGenerateRefusesFolderWithoutValue(t *testing.T) {
	spec := Engines(t.TempDir())
	write(t, filepath.Join(spec.Folder, "alpha", "alpha.go"), "package alpha\n\nfunc Engine() {}\n")
	if _, err := Generate(spec); err == nil || !strings.Contains(err.Error(), "exports no variable Engine") {
		t.Errorf("got %v, want an error that names the missing variable", err)
	}
}
