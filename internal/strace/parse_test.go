package strace

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTraceIsReadCallByCall(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{"plain", `12 chdir("/")                        = 0`, `chdir("/") = 0 `},
		{"without arguments", `12 setsid()                          = 12`, `setsid() = 12 `},
		{"an error", `12 mkdirat(AT_FDCWD</>, "/a b", 0755) = -1 EEXIST (File exists)`, `mkdirat(AT_FDCWD</>, "/a b", 0755) = -1 EEXIST`},
		{
			"a result that is described",
			`12 fcntl(3</x>, F_GETFL)              = 0x8000 (flags O_RDONLY|O_LARGEFILE)`,
			`fcntl(3</x>, F_GETFL) = 0x8000 `,
		},
		{
			"brackets, commas and an end of call in a string",
			`12 write(5<pipe:[7]>, "a \"b\", (c) = 1\n", 16) = 16`,
			`write(5<pipe:[7]>, "a \"b\", (c) = 1\n", 16) = 16 `,
		},
		{
			"nested structures",
			`12 clone3({flags=CLONE_VM|CLONE_THREAD, tls=0x7f} => {parent_tid=[13]}, 88) = 13`,
			`clone3({flags=CLONE_VM|CLONE_THREAD, tls=0x7f} => {parent_tid=[13]}, 88) = 13 `,
		},
		{
			"shifts, which are no descriptors",
			`12 capset({pid=0}, {effective=1<<CAP_KILL|1<<CAP_CHOWN, permitted=0, inheritable=0}) = 0`,
			`capset({pid=0}, {effective=1<<CAP_KILL|1<<CAP_CHOWN, permitted=0, inheritable=0}) = 0 `,
		},
		{
			"a comma in a path and a comment",
			`12 prctl(PR_CAPBSET_READ, 0x29 /* CAP_???, (new) */, 4</a,b>) = 1`,
			`prctl(PR_CAPBSET_READ, 0x29 /* CAP_???, (new) */, 4</a,b>) = 1 `,
		},
		{
			"a string cut short",
			`12 write(1, "{\"n\":1"..., 900)      = 900`,
			`write(1, "{\"n\":1"..., 900) = 900 `,
		},
		{"a call without a name", `12 syscall_0x1c4(0xb, 0xc0, 0x21b6) = 0`, `syscall_0x1c4(0xb, 0xc0, 0x21b6) = 0 `},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls, err := Parse(c.text + "\n")
			if err != nil || len(calls) != 1 {
				t.Fatalf("%v, %v", calls, err)
			}
			if got := calls[0].String(); got != c.want || calls[0].Thread != 12 {
				t.Errorf("thread %d: %q\nwant %q", calls[0].Thread, got, c.want)
			}
		})
	}
}

func TestTracedCallsOfSeveralThreadsAreJoinedAndInOrderOfTheirBeginning(t *testing.T) {
	calls, err := Parse(strings.TrimLeft(`
10 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>
11 setsid( <unfinished ...>
11 <... setsid resumed>)                = 11
11 openat(AT_FDCWD</>, "x", O_RDONLY <unfinished ...>
10 <... clone resumed>, parent_tid=[3<anon_inode:[pidfd]>]) = 11
10 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL, si_pid=10, si_uid=0} ---
11 <... openat resumed>)                = 4</x>
11 read(4</x>,  <unfinished ...>
10 exit_group(0)                        = ?
11 <... read resumed> <unfinished ...>) = ?
10 +++ exited with 0 +++
12 ???( <unfinished ...>
12 <... ??? resumed>)                   = ?
13 ???()                                = ?
11 pause( <unfinished ...>
11 +++ killed by SIGKILL +++
14 sendto(3<socket:[1]>, "a", 1, 0, NULL, 0 <unfinished ...>
15 sendto(3<socket:[1]>, "b", 1, 0, NULL, 0 <unfinished ...>
14 <... sendto resumed> <unfinished ...>) = ?
15 +++ exited with 0 +++
16 sendto(3<socket:[1]>, "c", 1, 0, NULL, 0 <unfinished ...>
16 <... sendto resumed>)                = ? <unavailable>
`, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range calls {
		got = append(got, c.String())
	}
	want := []string{
		`clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD, parent_tid=[3<anon_inode:[pidfd]>]) = 11 `,
		`setsid() = 11 `,
		`openat(AT_FDCWD</>, "x", O_RDONLY) = 4 `,
		`sendto(3<socket:[1]>, "a", 1, 0, NULL, 0) = 0 `,
		`sendto(3<socket:[1]>, "b", 1, 0, NULL, 0) = 0 `,
		`sendto(3<socket:[1]>, "c", 1, 0, NULL, 0) = 0 `,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if calls[2].Path != "/x" {
		t.Errorf("the descriptor that openat returned is said to be %q", calls[2].Path)
	}
}

func TestThreadThatExecsGoesOnUnderTheNumberOfItsProcess(t *testing.T) {
	calls, err := Parse(`10 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[11]}, 88) = 11
11 execve("/bin/true", ["true"], 0x1 /* 0 vars */ <unfinished ...>
10 +++ superseded by execve in pid 11 +++
10 <... execve resumed>)                = 0
`)
	if err != nil || len(calls) != 2 {
		t.Fatalf("%v, %v", calls, err)
	}
	if c := calls[1]; c.Thread != 10 || c.Line != 2 || c.String() != `execve("/bin/true", ["true"], 0x1 /* 0 vars */) = 0 ` {
		t.Errorf("line %d, thread %d: %s", c.Line, c.Thread, c)
	}
}

func TestNumbersOfAnotherPIDNamespaceAreTranslated(t *testing.T) {
	calls, err := Parse("10 clone(child_stack=NULL, flags=SIGCHLD) = 2 /* 4711 in strace's PID NS */\n10 clone(child_stack=NULL, flags=SIGCHLD) = 12\n")
	if err != nil || len(calls) != 2 || calls[0].Result != "4711" || calls[1].Result != "12" {
		t.Errorf("%v, %v", calls, err)
	}
}

func TestUnreadableTraceIsAnErrorWithItsLine(t *testing.T) {
	for _, text := range []string{
		"12 chdir(\"/\") = 0\nnonsense\n",
		"12 chdir(\"/\") = 0\n12 chdir(\"/\"\n",
		"12 chdir(\"/\") = 0\n12 <... read resumed>) = 0\n",
		"12 chdir(\"/\") = 0\n12 chdir(\"/\") 0\n",
	} {
		if calls, err := Parse(text); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q gives %v, %v", text, calls, err)
		}
	}
}

func TestStringsOfATraceAreUnescaped(t *testing.T) {
	for arg, want := range map[string]string{
		`"/plain"`: "/plain", `"a\nb\t\"c\" \\"`: "a\nb\t\"c\" \\", `"\0\1x\33\342\200\246"`: "\x00\x01x\x1b…", `"\x7f\x0ab"`: "\x7f\nb", `"\0012"`: "\x012", `""`: "",
	} {
		if got, ok := Literal(arg); !ok || got != want {
			t.Errorf("%s reads as %q, %v", arg, got, ok)
		}
	}
	for _, arg := range []string{`"cut"...`, "NULL", "0", `"`} {
		if got, ok := Literal(arg); ok {
			t.Errorf("%s reads as %q", arg, got)
		}
	}
}

func TestDescriptorsOfATraceAreSplit(t *testing.T) {
	for arg, want := range map[string][2]string{
		"3</tmp/x>": {"3", "/tmp/x"}, "AT_FDCWD</>": {"AT_FDCWD", "/"}, "AT_FDCWD": {"AT_FDCWD", ""}, "-1": {"-1", ""},
		"22<mnt:[4026532250]>": {"22", "mnt:[4026532250]"}, "4</gone>(deleted)": {"4", "/gone"}, `5</a\74b\76>`: {"5", "/a<b>"},
		"1<<CAP_KILL": {"1<<CAP_KILL", ""},
	} {
		if number, path := Descriptor(arg); [2]string{number, path} != want {
			t.Errorf("%s splits into %q and %q", arg, number, path)
		}
	}
}
