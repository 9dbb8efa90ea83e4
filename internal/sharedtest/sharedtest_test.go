package sharedtest

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRoot(t *testing.T) {
	root := Root(t)
	if _, err := os.Stat(filepath.Join(root, "internal", "sharedtest")); err != nil {
		t.Errorf("root %q does not hold this package: %v", root, err)
	}
}

func TestRequired(t *testing.T) {
	t.Setenv("OTUS_REQUIRE", "browser,shared")
	if !Required("shared") || !Required("browser") || Required("docker") {
		t.Error("OTUS_REQUIRE=browser,shared is read wrongly")
	}
}

func TestManifestNamesFiles(t *testing.T) {
	for _, row := range Manifest(t) {
		Capture(t, row["file"])
	}
}
