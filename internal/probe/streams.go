package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func echo(args []string) error {
	_, err := fmt.Println(strings.Join(args, " "))
	return err
}

func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

func stdio(args []string) error {
	text := [2]string{"to stdout", "to stderr"}
	copy(text[:], args)
	if _, err := fmt.Fprintln(os.Stdout, text[0]); err != nil {
		return err
	}
	_, err := fmt.Fprintln(os.Stderr, text[1])
	return err
}

func printEnv(args []string) error {
	if len(args) == 0 {
		_, err := fmt.Println(strings.Join(os.Environ(), "\n"))
		return err
	}
	value, ok := os.LookupEnv(args[0])
	if !ok {
		return status(1)
	}
	_, err := fmt.Println(value)
	return err
}

func touch(args []string) error {
	if len(args) != 1 {
		return usage("touch needs one path")
	}
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func readFile(args []string) error {
	if len(args) != 1 {
		return usage("read needs one path")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
