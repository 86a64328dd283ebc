package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is less than what container runtimes wait.
const healthTimeout = 3 * time.Second

func newHealthcheck(s *settings) *cobra.Command {
	path := "/healthz"
	var ready bool
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running gateway whether it is well, for containers",
		Long:  "Ask the gateway that runs with the same configuration whether it is well.\nThe exit status says so, which is what containers need that have no shell.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			if ready {
				path = "/readyz"
			}
			return healthcheck(cmd.Context(), c.HTTP.Listen, path)
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask whether clients can be served, not only whether the process lives")
	return cmd
}

func healthcheck(ctx context.Context, listen, path string) error {
	host, port, err := net.SplitHostPort(listen)
	if listen == "" || err != nil || port == "0" {
		return errors.New("http.listen: a health check needs a fixed address, for example 127.0.0.1:8080")
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the gateway does not answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	reason, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}
