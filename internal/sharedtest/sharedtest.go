// Package sharedtest finds the folder of development captures and reference tables that lies beside the
// repository, for the tests that use it. Such a test skips where the folder is absent, and fails instead where the
// environment variable OTUS_REQUIRE lists "shared".
package sharedtest

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

// Required reports whether OTUS_REQUIRE, a comma-separated list, names what.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("OTUS_REQUIRE"), ","), what)
}

// Root gives the root folder of this repository: the nearest parent of the working directory with a go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("find the repository: no go.mod above the working directory")
		}
		dir = parent
	}
}

// Dir gives the shared folder. Without it the test is skipped, or fails where the folder is required.
func Dir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(Root(t), "..", "shared")
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir
	}
	if Required("shared") {
		t.Fatalf("the shared folder %q is absent and OTUS_REQUIRE asks for it", dir)
	}
	t.Skipf("skipped: the shared folder %q is absent", dir)
	return ""
}

// Capture gives the path of one capture, such as "modbus/modbus_testdata_part1.pcap".
func Capture(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(Dir(t), "pcaps", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("find capture: %v", err)
	}
	return path
}

// Captures gives the paths of all captures, sorted; with folders named, only theirs ("modbus", "dnp3").
func Captures(t testing.TB, folders ...string) []string {
	t.Helper()
	root := filepath.Join(Dir(t), "pcaps")
	var paths []string
	for _, pattern := range []string{"*/*.pcap", "*/*.pcapng"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatalf("find captures: %v", err)
		}
		for _, path := range found {
			if len(folders) == 0 || slices.Contains(folders, filepath.Base(filepath.Dir(path))) {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) == 0 {
		t.Fatalf("no captures of %v below %q", folders, root)
	}
	sort.Strings(paths)
	return paths
}

// Manifest reads MANIFEST.csv: one row per capture, column name to value. The column "file" is the name Capture takes.
func Manifest(t testing.TB) []map[string]string {
	t.Helper()
	return Table(t, filepath.Join("pcaps", "MANIFEST.csv"))
}

// Table reads a CSV file of the shared folder whose first row names the columns.
func Table(t testing.TB, name string) []map[string]string {
	t.Helper()
	file, err := os.Open(filepath.Join(Dir(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatalf("read table: %v", err)
	}
	defer file.Close()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatalf("read table %q: %v", name, err)
	}
	if len(records) == 0 {
		t.Fatalf("read table %q: no header", name)
	}
	var rows []map[string]string
	for _, record := range records[1:] {
		row := make(map[string]string, len(record))
		for i, value := range record {
			row[records[0][i]] = value
		}
		rows = append(rows, row)
	}
	return rows
}
