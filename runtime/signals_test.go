package runtime

import (
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSignalsAreReadByNumberAndName(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"9": 9, "64": 64, "1": 1, "TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "sigterm": unix.SIGTERM, "hup": unix.SIGHUP, "Usr1": unix.SIGUSR1,
		"RTMIN": 34, "SIGRTMIN": 34, "rtmin+3": 37, "SIGRTMIN+15": 49, "RTMAX": 64, "RTMAX-14": 50, "RTMAX-30": 34, "RTMIN+30": 64, "RTMIN+0": 34,
	} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("%q reads as %d, %v, not %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "0", "-1", "65", "9999999999999999999", "SIG", "NOPE", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31", "RTMIN+", "RTMAX-", "RTMIN+x",
		"RTMIN++1", "RTMIN+-1", "RTMAX--1", "RTMIN+300", "TERM ", "SIGSIGTERM", "+9 ",
	} {
		if got, err := ParseSignal(text); err == nil || err.Error() != "Invalid signal: "+text {
			t.Errorf("%q reads as %d, %v", text, got, err)
		}
	}
}

func TestStopIsDoneAsTheContainerSays(t *testing.T) {
	zero := 0
	for _, c := range []struct {
		config  Config
		signal  unix.Signal
		timeout int
	}{
		{Config{}, unix.SIGTERM, 10},
		{Config{StopSignal: "SIGQUIT", StopTimeout: &zero}, unix.SIGQUIT, 0},
		{Config{StopSignal: "37"}, 37, 10},
	} {
		if s, d := c.config.stopSignal(), c.config.stopTimeout(); s != c.signal || d != c.timeout {
			t.Errorf("%+v: signal %d, %d s", c.config, s, d)
		}
	}
}

func TestSignalStepNamesTheSignal(t *testing.T) {
	for s, want := range map[unix.Signal][2]string{
		unix.SIGTERM: {"pidfd_send_signal(FD, SIGTERM, NULL, 0)", "kill -TERM 7"},
		unix.SIGKILL: {"pidfd_send_signal(FD, SIGKILL, NULL, 0)", "kill -KILL 7"},
	} {
		step := signalStep(7, s, "why")
		if step.Call[1] != want[0] || step.Shell[0] != want[1] {
			t.Errorf("signal %d: %q, %q", s, step.Call, step.Shell)
		}
	}
}

func FuzzParseSignal(f *testing.F) {
	for _, text := range []string{"9", "SIGTERM", "rtmin+3", "RTMAX-14", "RTMIN+", "0", "ſigterm"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSignal(text)
		if err != nil {
			if s != 0 || !strings.Contains(err.Error(), text) {
				t.Errorf("%q gives %d, %v", text, s, err)
			}
			return
		}
		if s < 1 || s > maxSignal {
			t.Errorf("%q reads as %d", text, s)
		}
		if again, err := ParseSignal(strconv.Itoa(int(s))); err != nil || again != s {
			t.Errorf("%d reads as %d, %v", s, again, err)
		}
	})
}
