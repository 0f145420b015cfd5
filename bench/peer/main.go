// Command peer is the program at both ends of what bench/network and bench/lookup
// measure. It is static, so that it runs in any container:
//
//	peer serve [-cpu N]                  answers `peer ping`, and iperf3, until it is killed
//	peer ping [-cpu N] [-count N] ADDRESS  prints the median round trip, in nanoseconds
//	peer await NAME                      prints "ready", and when the name was found
//	peer resolve NAME                    prints when it began, and when the name was found
//	peer idle                            does nothing until it is told to end
//
// Times are nanoseconds since 1970, which all namespaces have in common.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	var cpu, count int
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.IntVar(&cpu, "cpu", 0, "the CPU to stay on")
	flags.IntVar(&count, "count", 5000, "how many messages go there and back")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch verb := args[0]; {
	case verb == "serve" && flags.NArg() == 0:
		return serve(ctx, cpu)
	case verb == "ping" && flags.NArg() == 1:
		return pingCommand(out, cpu, count, flags.Arg(0))
	case verb == "await" && flags.NArg() == 1:
		return await(ctx, out, resolverAt, flags.Arg(0))
	case verb == "resolve" && flags.NArg() == 1:
		return resolve(ctx, out, lookUp, flags.Arg(0))
	case verb == "idle" && flags.NArg() == 0:
		<-ctx.Done()
		return nil
	}
	return errUsage
}

var errUsage = fmt.Errorf("usage: peer serve|ping|await|resolve|idle …, see the package comment")
