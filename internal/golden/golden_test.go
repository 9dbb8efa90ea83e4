package golden

import "testing"

// recorder keeps the failure of the check under test from failing the test itself.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestCheck(t *testing.T) {
	if Updating() {
		t.Skip("recording")
	}
	equal := &recorder{TB: t}
	Check(equal, "sample", "one\ntwo\n")
	if equal.failed {
		t.Error("equal text was reported as different")
	}
	other := &recorder{TB: t}
	Check(other, "sample", "one\nthree\n")
	if !other.failed {
		t.Error("different text was not reported")
	}
}
