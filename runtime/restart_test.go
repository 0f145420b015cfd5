package runtime

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRestartPolicyDecidesWhetherThereIsAnotherRun(t *testing.T) {
	for _, c := range []struct {
		policy         RestartPolicy
		code, restarts int
		want           bool
	}{
		{RestartPolicy{}, 1, 0, false},
		{RestartPolicy{Name: "no"}, 1, 0, false},
		{RestartPolicy{Name: "always"}, 0, 1000, true},
		{RestartPolicy{Name: "unless-stopped"}, 137, 3, true},
		{RestartPolicy{Name: "on-failure"}, 0, 0, false},
		{RestartPolicy{Name: "on-failure"}, 1, 1000, true},
		{RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}, 1, 1, true},
		{RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}, 1, 2, false},
		{RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}, 0, 1, false},
	} {
		if got := c.policy.wants(c.code, c.restarts); got != c.want {
			t.Errorf("%+v after status %d and %d restarts: %v", c.policy, c.code, c.restarts, got)
		}
		r := restarts{policy: c.policy, count: c.restarts}
		if got := r.next(c.code, time.Second); got != c.want || (r.count == c.restarts+1) != c.want || (r.wait > 0) != c.want {
			t.Errorf("%+v after status %d: next is %v, then %+v", c.policy, c.code, got, r)
		}
	}
}

func TestAfterABootOnlyThoseComeBackThatShould(t *testing.T) {
	failed, fine := &Exit{ExitCode: 255}, &Exit{}
	for _, c := range []struct {
		policy  RestartPolicy
		stopped bool
		count   int
		exit    *Exit
		want    bool
	}{
		{RestartPolicy{}, false, 0, failed, false},
		{RestartPolicy{Name: "no"}, false, 0, failed, false},
		{RestartPolicy{Name: "always"}, true, 0, fine, true},
		{RestartPolicy{Name: "unless-stopped"}, false, 0, fine, true},
		{RestartPolicy{Name: "unless-stopped"}, true, 0, failed, false},
		{RestartPolicy{Name: "on-failure"}, false, 0, failed, true},
		{RestartPolicy{Name: "on-failure"}, false, 0, fine, false},
		{RestartPolicy{Name: "on-failure"}, false, 0, nil, false},
		{RestartPolicy{Name: "on-failure"}, true, 0, failed, false},
		{RestartPolicy{Name: "on-failure", MaximumRetryCount: 1}, false, 1, failed, false},
	} {
		if got := c.policy.wantsAfterBoot(LastRun{StoppedByUser: c.stopped, RestartCount: c.count}, c.exit); got != c.want {
			t.Errorf("%+v, stopped %v, exit %+v: %v", c.policy, c.stopped, c.exit, got)
		}
	}
}

func TestBackOffDoublesUpToAMinute(t *testing.T) {
	r := restarts{policy: RestartPolicy{Name: "always"}}
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000} {
		if !r.next(1, 9999*time.Millisecond) || r.wait != want*time.Millisecond {
			t.Fatalf("waits %s, not %s", r.wait, want*time.Millisecond)
		}
	}
	if !r.next(1, 10*time.Second) || r.wait != 100*time.Millisecond {
		t.Errorf("after a long run it waits %s", r.wait)
	}
	if r.count != 13 {
		t.Errorf("%d restarts are counted", r.count)
	}
}

func TestBackOffWhateverComes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := restarts{policy: RestartPolicy{Name: "always"}}
		for _, ran := range rapid.SliceOf(rapid.Int64Range(0, int64(24*time.Hour))).Draw(t, "runs") {
			before := r.wait
			if !r.next(1, time.Duration(ran)) {
				t.Fatal("no next run")
			}
			switch {
			case r.wait < firstBackOff || r.wait > longestBackOff:
				t.Fatalf("waits %s", r.wait)
			case before == 0 || time.Duration(ran) >= longRun:
				if r.wait != firstBackOff {
					t.Fatalf("waits %s after %s", r.wait, time.Duration(ran))
				}
			case r.wait != min(2*before, longestBackOff):
				t.Fatalf("waits %s after %s", r.wait, before)
			}
		}
	})
}

func TestRestartPolicyIsReadAsDockerDoes(t *testing.T) {
	for text, want := range map[string]RestartPolicy{
		"": {}, "no": {Name: "no"}, "always": {Name: "always"}, "unless-stopped": {Name: "unless-stopped"},
		"on-failure": {Name: "on-failure"}, "on-failure:0": {Name: "on-failure"}, "on-failure:5": {Name: "on-failure", MaximumRetryCount: 5},
	} {
		if got, err := ParseRestartPolicy(text); err != nil || got != want {
			t.Errorf("%q reads as %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"sometimes":        "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
		"ALWAYS":           "invalid restart policy: unknown policy 'ALWAYS'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
		"on-failure:":      "invalid restart policy format: maximum retry count must be an integer",
		"on-failure:many":  "invalid restart policy format: maximum retry count must be an integer",
		"on-failure:1:2":   "invalid restart policy format: maximum retry count must be an integer",
		"always:3":         "invalid restart policy: maximum retry count can only be used with 'on-failure'",
		"unless-stopped:0": "invalid restart policy: maximum retry count can only be used with 'on-failure'",
		"on-failure:-1":    "invalid restart policy: maximum retry count cannot be negative",
	} {
		if got, err := ParseRestartPolicy(text); err == nil || err.Error() != want {
			t.Errorf("%q gives %+v, %v", text, got, err)
		}
	}
}
