package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/minidock/minidock/runtime"
)

var anEvent = runtime.Event{
	Time: time.Date(2017, 1, 5, 0, 36, 9, 840186338, time.FixedZone("", 8*3600)),
	Type: "container", Action: "die", ID: "0fdb48addc82",
	Attributes: map[string]string{"name": "test", "image": "alpine", "exitCode": "143"},
}

func TestEventsAreToldInDockersForms(t *testing.T) {
	local := time.Local
	time.Local = time.FixedZone("", 8*3600)
	t.Cleanup(func() { time.Local = local })
	for format, want := range map[string]string{
		"": "2017-01-05T00:36:09.840186338+08:00 container die 0fdb48addc82 (exitCode=143, image=alpine, name=test)\n",
		"json": `{"status":"die","id":"0fdb48addc82","from":"alpine","Type":"container","Action":"die","Actor":{"ID":"0fdb48addc82",` +
			`"Attributes":{"exitCode":"143","image":"alpine","name":"test"}},"scope":"local","time":1483547769,"timeNano":1483547769840186338}` + "\n",
		"{{.Action}} {{.Actor.Attributes.name}} {{.TimeNano}}": "die test 1483547769840186338\n",
	} {
		var out bytes.Buffer
		see, err := eventPrinter(&out, format)
		if err != nil {
			t.Fatal(err)
		}
		if err := see(anEvent); err != nil || out.String() != want {
			t.Errorf("%q gives %s(%v), want %s", format, out.String(), err, want)
		}
	}
}

func TestAnEventWithoutAttributesHasNoBrackets(t *testing.T) {
	e := anEvent
	e.Time, e.Attributes = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nil
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	if got, want := eventLine(e), "2026-01-02T03:04:05.000000000Z container die 0fdb48addc82"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
