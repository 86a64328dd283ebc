package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"golang.org/x/term"

	"github.com/causeway-mq/causeway/bridge/auth"
)

func newPasswd() *cobra.Command {
	return &cobra.Command{
		Use:   "passwd USER",
		Short: "Make an entry of auth.users from a password",
		Long:  "Read a password, from the terminal without showing it or one line of the standard input,\nand print the entry of auth.users that lets USER connect with it.",
		Args:  oneArg("the name of one user"),
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if password == "" {
				return errors.New("the password is empty")
			}
			entry, err := yaml.Marshal([]map[string]string{{"name": args[0], "password": auth.Hash(password)}})
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(entry)
			return err
		},
	}
}

func readPassword(r io.Reader, prompt io.Writer) (string, error) {
	terminal, ok := r.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for i, ask := range []string{"Password: ", "Again: "} {
		_, _ = fmt.Fprint(prompt, ask)
		password, err := term.ReadPassword(int(terminal.Fd()))
		_, _ = fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		typed[i] = string(password)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ")
	}
	return typed[0], nil
}
