package images

import (
	"strings"
	"testing"
)

func TestNamesAreReadAsDockerReadsThem(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"busybox":                         "docker.io/library/busybox",
		"busybox:1.36":                    "docker.io/library/busybox:1.36",
		"team/app":                        "docker.io/team/app",
		"team/app/part:x":                 "docker.io/team/app/part:x",
		"library/busybox":                 "docker.io/library/busybox",
		"docker.io/busybox":               "docker.io/library/busybox",
		"index.docker.io/busybox":         "docker.io/library/busybox",
		"localhost/app":                   "localhost/app",
		"local/app":                       "docker.io/local/app",
		"LOCAL/app":                       "LOCAL/app",
		"reg.example.com/app":             "reg.example.com/app",
		"reg:5000/app:1":                  "reg:5000/app:1",
		"[::1]:5000/app":                  "[::1]:5000/app",
		"app@" + digest:                   "docker.io/library/app@" + digest,
		"app:1@" + digest:                 "docker.io/library/app:1@" + digest,
		"a.b_c__d-e---f":                  "docker.io/library/a.b_c__d-e---f",
		"app:" + strings.Repeat("x", 128): "docker.io/library/app:" + strings.Repeat("x", 128),
	} {
		if r, err := parseReference(in); err != nil || r.full() != want {
			t.Errorf("%s is %s, %v; want %s", in, r.full(), err, want)
		}
	}
}

func TestNamesThatDockerRefusesAreRefused(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "invalid reference format",
		"App":                                "repository name (library/App) must be lowercase",
		"team/App":                           "repository name (team/App) must be lowercase",
		"-app":                               "invalid reference format",
		"app-":                               "invalid reference format",
		"a..b":                               "invalid reference format",
		"a___b":                              "invalid reference format",
		"a._b":                               "invalid reference format",
		"a//b":                               "invalid reference format",
		"/a":                                 "invalid reference format",
		"a/":                                 "invalid reference format",
		"a b":                                "invalid reference format",
		"app:":                               "invalid reference format",
		"app:-x":                             "invalid reference format",
		"app:a:b":                            "invalid reference format",
		"app@sha256:abc":                     "invalid reference format",
		"app@md5:" + strings.Repeat("a", 32): "invalid reference format",
		"reg:port/app":                       "invalid reference format",
		"-reg.com/app":                       "invalid reference format",
		"[::1/app":                           "invalid reference format",
		"app:" + strings.Repeat("x", 129):    "invalid reference format",
		strings.Repeat("a", 64):              "cannot specify 64-byte hexadecimal strings",
		strings.Repeat("a/", 127) + "ab":     "must not be more than 255 characters",
	} {
		if r, err := parseReference(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %s, %v; want %q", in, r.full(), err, want)
		}
	}
}

func TestFamiliarNamesAreShort(t *testing.T) {
	for in, want := range map[string]string{
		"docker.io/library/busybox": "busybox:latest",
		"docker.io/team/app:1":      "team/app:1",
		"docker.io/library/a/b":     "library/a/b:latest",
		"localhost/app":             "localhost/app:latest",
		"sha256:0123":               "sha256:0123",
		strings.Repeat("0", 64):     strings.Repeat("0", 64),
		"not a name":                "not a name",
	} {
		if got := Familiar(in); got != want {
			t.Errorf("%s is %s; want %s", in, got, want)
		}
	}
}

func FuzzAReferenceKeepsItsMeaning(f *testing.F) {
	for _, seed := range []string{"busybox", "LOCAL/x:1", "[::1]:5/a", "a__b/c@sha256:" + strings.Repeat("0", 64), "index.docker.io/x", "a/b/c:d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{r.full(), r.familiar()} {
			if again, err := parseReference(form); err != nil || again != r {
				t.Errorf("%q is %+v, and so %q, which is %+v, %v", s, r, form, again, err)
			}
		}
	})
}
