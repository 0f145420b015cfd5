package images

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestChangesWriteTheConfigurationThatDockerWrites(t *testing.T) {
	tests := map[string]struct {
		changes []string
		want    string
	}{
		"command as a list":       {[]string{`CMD ["a", "b c"]`}, `{"Cmd":["a","b c"]}`},
		"command for a shell":     {[]string{`cmd echo "$HOME"  x`}, `{"Cmd":["/bin/sh","-c","echo \"$HOME\"  x"]}`},
		"broken list":             {[]string{`CMD ["a"`}, `{"Cmd":["/bin/sh","-c","[\"a\""]}`},
		"entrypoint drops a base": {[]string{`ENTRYPOINT ["x"]`}, `{"Entrypoint":["x"]}`},
		"entrypoint keeps a cmd":  {[]string{`CMD ["a"]`, `ENTRYPOINT x`}, `{"Cmd":["a"],"Entrypoint":["/bin/sh","-c","x"]}`},
		"environment":             {[]string{`ENV A=1 B="two words" C=three\ words`}, `{"Env":["A=1","B=two words","C=three words"]}`},
		"environment, old form":   {[]string{`ENV A one two`}, `{"Env":["A=one two"]}`},
		"environment, replaced":   {[]string{`ENV A=1 B=2`, `ENV A=3`}, `{"Env":["A=3","B=2"]}`},
		"variables":               {[]string{`ENV A=x`, `ENV B=$A C=${A}y D=${N:-d} E=${A:+e} F='$A' G="$A" H=\$A I=$N`}, `{"Env":["A=x","B=x","C=xy","D=d","E=e","F=$A","G=x","H=$A","I="]}`},
		"before the instruction":  {[]string{`ENV A=1`, `ENV A=2 B=$A`}, `{"Env":["A=2","B=1"]}`},
		"escapes between quotes":  {[]string{`ENV A=x`, `ENV B="a\"b\$A\\c\d" C="${A}${A:-y}" D="a'b"`}, `{"Env":["A=x","B=a\"b$A\\c\\d","C=xx","D=a'b"]}`},
		"special parameters":      {[]string{`ENV A=$1 B=$@x C=a$ D=$$`}, `{"Env":["A=","B=x","C=a$","D="]}`},
		"required and there":      {[]string{`ENV A=x`, `ENV B=${A:?no} C=${A?no} D=${N-d} E=${N+e}`}, `{"Env":["A=x","B=x","C=x","D=d","E="]}`},
		"nested default":          {[]string{`ENV A=${B:-${C:-x}y}`}, `{"Env":["A=xy"]}`},
		"ports":                   {[]string{`EXPOSE 80 53/UDP 8000-8002/tcp`}, `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}}`},
		"port of a mapping":       {[]string{`EXPOSE 8080:80`}, `{"ExposedPorts":{"80/tcp":{}}}`},
		"ports in a variable":     {[]string{"ENV P=\"1 2\"", "EXPOSE $P"}, `{"Env":["P=1 2"],"ExposedPorts":{"1/tcp":{},"2/tcp":{}}}`},
		"labels":                  {[]string{`LABEL a=1 "b c"="d e"`, `LABEL f g`}, `{"Labels":{"a":"1","b c":"d e","f":"g"}}`},
		"trigger":                 {[]string{`ONBUILD RUN make $X`}, `{"OnBuild":["RUN make $X"]}`},
		"signal":                  {[]string{`STOPSIGNAL sigrtmin+3`}, `{"StopSignal":"sigrtmin+3"}`},
		"user":                    {[]string{`USER 1000:1000`}, `{"User":"1000:1000"}`},
		"volumes":                 {[]string{`VOLUME /a /b`, `VOLUME ["/c d"]`}, `{"Volumes":{"/a":{},"/b":{},"/c d":{}}}`},
		"directory":               {[]string{`WORKDIR /a`, `WORKDIR b`, `WORKDIR ../c`}, `{"WorkingDir":"/a/c"}`},
		"no healthcheck":          {[]string{`HEALTHCHECK NONE`}, `{"Healthcheck":{"Test":["NONE"]}}`},
		"healthcheck":             {[]string{`HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --retries=4 CMD curl localhost`}, `{"Healthcheck":{"Test":["CMD-SHELL","curl localhost"],"Interval":5000000000,"Timeout":60000000000,"StartPeriod":2000000000,"Retries":4}}`},
		"healthcheck as a list":   {[]string{`HEALTHCHECK CMD ["a","b"]`}, `{"Healthcheck":{"Test":["CMD","a","b"]}}`},
		"lines, one change":       {[]string{"# comment\n\nENV A=1 \\\n# between\n  B=2\nUSER x"}, `{"Env":["A=1","B=2"],"User":"x"}`},
		"no changes":              {nil, `{}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := applyChanges(test.changes)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(s.config); string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestBadChangesSayWhatIsWrong(t *testing.T) {
	for change, want := range map[string]string{
		"RUN make":                         "run is not a valid change command",
		"COPY a b":                         "copy is not a valid change command",
		"nonsense":                         "nonsense is not a valid change command",
		"CMD":                              "CMD requires at least one argument",
		`CMD ["a", 1]`:                     "arrays must be comprised of strings only",
		"CMD --x":                          "unknown flag: --x",
		"ENV A":                            "ENV must have two arguments",
		"ENV A=1 B":                        `can't find = in "B"`,
		"ENV =x":                           "ENV names can not be blank",
		`ENV A="x`:                         "looking for matching double-quote",
		`ENV A='x`:                         "looking for matching single-quote",
		"ENV A=${B":                        "missing '}'",
		"ENV A=${}":                        "bad substitution",
		"ENV A=${B:x}":                     "unsupported modifier (x)",
		"ENV A=${B:?missing}":              "B: missing",
		"EXPOSE x":                         "invalid containerPort: x",
		"EXPOSE 70000":                     "invalid containerPort: 70000",
		"EXPOSE 2-1":                       "invalid containerPort: 2-1",
		"EXPOSE 1/icmp":                    "invalid proto: icmp",
		"LABEL x":                          "LABEL must have two arguments",
		"ONBUILD ONBUILD RUN x":            "isn't allowed",
		"ONBUILD FROM x":                   "FROM isn't allowed as an ONBUILD trigger",
		"STOPSIGNAL SIGNOTHING":            "invalid signal: SIGNOTHING",
		"STOPSIGNAL 65":                    "invalid signal: 65",
		"STOPSIGNAL RTMIN+99":              "invalid signal: RTMIN+99",
		`VOLUME [""]`:                      "VOLUME specified can not be an empty string",
		"VOLUME []":                        "VOLUME requires at least one argument",
		`WORKDIR ""`:                       "cannot normalize nothing",
		"HEALTHCHECK":                      "HEALTHCHECK requires at least one argument",
		"HEALTHCHECK --retries=1":          "HEALTHCHECK requires at least one argument",
		"HEALTHCHECK NONE x":               "HEALTHCHECK NONE takes no arguments",
		"HEALTHCHECK CMD":                  "missing command after HEALTHCHECK CMD",
		"HEALTHCHECK CMD []":               "missing command after HEALTHCHECK CMD",
		"HEALTHCHECK GUESS x":              `unknown type "GUESS" in HEALTHCHECK (try CMD)`,
		"HEALTHCHECK --interval=1us CMD x": "cannot be less than 1ms",
		"HEALTHCHECK --interval=x CMD x":   "invalid duration",
		"HEALTHCHECK --interval 5s CMD x":  "missing a value on flag: --interval",
		"HEALTHCHECK --retries=-1 CMD x":   "cannot be negative",
		"HEALTHCHECK --often=1 CMD x":      "unknown flag: --often",
	} {
		_, err := applyChanges([]string{change})
		if err == nil {
			t.Errorf("%s: no error", change)
			continue
		}
		if fault := wantFault(t, err); !strings.Contains(fault.Msg, want) {
			t.Errorf("%s: %q; want %q in it", change, fault.Msg, want)
		}
	}
}

func TestAStartIntervalIsKept(t *testing.T) {
	s := newStore(t)
	changes := []string{"HEALTHCHECK --start-interval=3s CMD true"}
	image := mustImport(t, s, "x", archiveOf(t, file("a", "x")), ImportOptions{Changes: changes})
	again, err := s.Resolve("x")
	if err != nil || image.HealthStartInterval != 3*time.Second || again.HealthStartInterval != 3*time.Second {
		t.Errorf("start interval %v, then %v, %v", image.HealthStartInterval, again.HealthStartInterval, err)
	}
	if h := again.Config.Config.Healthcheck; h == nil || len(h.Test) != 2 {
		t.Errorf("healthcheck %+v", h)
	}
}

func FuzzChangesNeverPanicAndQuoteWhatIsWrong(f *testing.F) {
	for _, seed := range []string{
		`CMD ["a"]`, `ENV A="$B" C=${D:-'e'} F\`, "ENV A=1 \\\n B=2", `LABEL "a b"=c`, `HEALTHCHECK --interval=1s CMD x`,
		`EXPOSE 1-3/udp`, `VOLUME ["/a"]`, `STOPSIGNAL RTMIN+1`, `ONBUILD RUN x`, "ENV A=${A:+${B:?c}}", "ENV A=\xff$\xfe",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, change string) {
		s, err := applyChanges([]string{change})
		if (s == nil) == (err == nil) {
			t.Fatalf("settings %v with error %v", s, err)
		}
		if err != nil {
			_ = wantFault(t, err)
			return
		}
		// Whatever was taken has to survive the way into the image and back.
		if _, err := json.Marshal(s.config); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzExpansionWithoutSpecialCharactersIsTheText(f *testing.F) {
	f.Add("plain")
	f.Add("b\xffyte")
	f.Fuzz(func(t *testing.T, word string) {
		s := &settings{}
		got, err := s.expand(word)
		if !strings.ContainsAny(word, `'"$\`) && (err != nil || got != word) {
			t.Errorf("%q becomes %q, %v", word, got, err)
		}
	})
}
