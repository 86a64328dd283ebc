package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/causeway-mq/causeway/mapping"
)

func newCheck(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with a configuration",
		Long:  "Say what is wrong with a configuration, and what is allowed in it and probably not meant.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			for _, warning := range c.Lint() {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "warning:", warning)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is valid")
			return err
		},
	}
}

func newExplain(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "explain NAME",
		Short: "Say what a destination, topic, filter or subject is in the other worlds",
		Args:  oneArg("one STOMP destination, MQTT topic or filter, or NATS subject"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			table, err := mapping.New(c.mappingOptions())
			if err != nil {
				return err
			}
			explanation, err := table.Explain(args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), explanation.String())
			return err
		},
	}
}
