package main

import (
	"strings"
	"testing"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

var someChecks = []runtime.DoctorCheck{
	{Name: "kernel", Verdict: runtime.DoctorOK, Detail: "6.12"},
	{Name: "cgroup cpu", Verdict: runtime.DoctorMissing, Detail: "on version 1", Fix: "boot anew"},
	{Name: "cgroup memory", Verdict: runtime.DoctorMissing, Detail: "on version 1", Fix: "boot anew"},
	{Name: "kvm", Verdict: runtime.DoctorWarning, Detail: "none", Fix: "buy one"},
}

func TestTheDiagnosisIsAlignedAndPlainWithoutATerminal(t *testing.T) {
	var out strings.Builder
	printDiagnosis(&out, someChecks)
	want := `ok       kernel         6.12
missing  cgroup cpu     on version 1
missing  cgroup memory  on version 1
                        fix for these 2: boot anew
warning  kvm            none
                        fix: buy one

1 ok, 1 warning, 2 missing
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTheDiagnosisFailsOnlyWhereAFeatureIsMissing(t *testing.T) {
	if err := diagnosis(someChecks[3:]); err != nil {
		t.Errorf("a warning: %v", err)
	}
	for n, want := range map[int]string{2: "1 requirement is missing", 3: "2 requirements are missing"} {
		err := diagnosis(someChecks[:n])
		if err == nil || err.Error() != want || steps.CodeOf(err, 1) != 1 || steps.HintOf(err) == "" {
			t.Errorf("%v (%d, %q)", err, steps.CodeOf(err, 1), steps.HintOf(err))
		}
	}
}

func TestColoursOnlyAddToTheText(t *testing.T) {
	for verdict, style := range verdictStyles(true) {
		if got := style(string(verdict)); !strings.HasPrefix(got, "\x1b[") || !strings.HasSuffix(got, "\x1b[0m") || !strings.Contains(got, string(verdict)) {
			t.Errorf("%q", got)
		}
	}
	for verdict, style := range verdictStyles(false) {
		if got := style(string(verdict)); got != string(verdict) {
			t.Errorf("%q", got)
		}
	}
}
