// Causeway makes STOMP and MQTT clients one messaging system.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set by the release build; otherwise the module's own is told.
var version string

func main() {
	os.Exit(execute(newRoot(), os.Stderr))
}

// execute runs the command line and returns the exit status: 2 when the
// command line itself is wrong.
func execute(root *cobra.Command, stderr io.Writer) int {
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	for line := range strings.Lines(err.Error()) {
		_, _ = fmt.Fprintln(stderr, "causeway:", strings.TrimSuffix(line, "\n"))
	}
	if usage := (usageError{}); errors.As(err, &usage) || cmd == root && strings.HasPrefix(err.Error(), "unknown command") {
		_, _ = fmt.Fprintf(stderr, "causeway: see \"%s --help\"\n", cmd.CommandPath())
		return 2
	}
	return 1
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// settings are the flags that every command with a configuration has.
type settings struct {
	file string
	keys *pflag.FlagSet
}

func (s *settings) addTo(commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.Flags().SortFlags = false
		cmd.Flags().StringVar(&s.file, "config", "", "configuration `file`; also "+envConfig)
		cmd.Flags().AddFlagSet(s.keys)
	}
}

// load returns the configuration that a command was given, valid.
func (s *settings) load() (Config, error) {
	name, named := s.file, "--config"
	if name == "" {
		name, named = os.Getenv(envConfig), envConfig
	}
	c, err := load(name, os.Environ(), s.keys)
	if _, unreadable := errors.AsType[*fs.PathError](err); unreadable {
		err = fmt.Errorf("%s: %w", named, err)
	}
	if err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}

func newRoot() *cobra.Command {
	s := &settings{keys: keyFlags()}
	serve := newServe(s)
	check := newCheck(s)
	healthcheck := newHealthcheck(s)
	explain := newExplain(s)
	names := &cobra.Command{Use: "map", Short: "Look at the mapping of names", Args: noArgs}
	names.AddCommand(explain)

	root := &cobra.Command{
		Use:           "causeway",
		Short:         "A gateway that makes STOMP and MQTT clients one messaging system",
		Long:          "A gateway that makes STOMP and MQTT clients one messaging system.\n\nWithout a command it serves.",
		RunE:          serve.RunE,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	s.addTo(root, serve, check, healthcheck, explain)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(serve, check, names, newVersion(), healthcheck, newPasswd())
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// flagError suggests the flag that was probably meant for one that does not exist.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return usageError{err}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	name := unknown.GetSpecifiedName()
	return usageError{fmt.Errorf("--%s: unknown flag%s", name, suggestion(name, names, func(meant string) string { return "--" + meant }))}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s: %q is one argument too many", cmd.CommandPath(), args[0])}
	}
	return nil
}

// oneArg demands an argument, which what describes.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s: give %s", cmd.CommandPath(), what)}
		}
		return nil
	}
}

func newServe(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway (the default)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := s.load()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			// After the first signal the next one ends the process at once.
			go func() {
				<-ctx.Done()
				stop()
			}()
			return run(ctx, c, cmd.OutOrStdout(), newLogger(c.Log, cmd.ErrOrStderr()))
		},
	}
}

func newLogger(c Log, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[c.Level]}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "causeway", versionText())
			return err
		},
	}
}

// versionText is the release, or else the commit that was built.
func versionText() string {
	build, ok := debug.ReadBuildInfo()
	if version != "" || !ok {
		return version
	}
	text := build.Main.Version
	if i := slices.IndexFunc(build.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" }); i >= 0 && text == "(devel)" {
		text += " " + build.Settings[i].Value
	}
	return text
}
