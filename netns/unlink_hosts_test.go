package netns

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/hosts"
)

// Whoever looks after a link was deleted does not find it, and can give its name to
// another, although the call that deletes it has not returned yet.
func TestDeletedLinkIsGoneAtOnce(t *testing.T) {
	host := hosts.New(t, "host")
	for range 20 {
		host.Run("ip link add br9 up type bridge; ip address add 192.0.2.1/24 dev br9")
		host.Run("ip link add v9.0 up master br9 type veth peer name p9; ip link set p9 up")
		host.Must(func() error {
			err := errors.Join(deleteLink("v9.0"), deleteLink("br9"))
			if names := linkNames(t); len(names) > 1 || listed("br9") || listed("v9.0") {
				t.Errorf("still there: %s", names)
			}
			return err
		})
		if said := host.Run("ip -br link; ip address; cat /proc/net/dev; ls /proc/sys/net/ipv4/conf"); strings.Contains(said, "br9") || strings.Contains(said, "v9") {
			t.Errorf("still there:\n%s", said)
		}
	}
	host.Must(func() error { return errors.Join(deleteLink("br9"), setDown("br9")) }) // One that is missing.
}

func linkNames(t *testing.T) (names []string) {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Error(err)
	}
	for _, l := range all {
		names = append(names, l.Name)
	}
	return names
}

// A link that can't be deleted is an error, not one that is waited for.
func TestLinkThatStaysIsAnError(t *testing.T) {
	host := hosts.New(t, "host")
	host.Must(func() error {
		if err := deleteLink("lo"); err == nil {
			t.Error("loopback is said to be deleted")
		}
		return nil
	})
}
