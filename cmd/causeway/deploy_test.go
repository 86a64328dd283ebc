package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/stretchr/testify/require"
)

const deploy = "../../deploy"

// The file is the manual of the configuration, so it must say what is true.
func TestExampleFileHasEveryKeyAtItsDefault(t *testing.T) {
	t.Parallel()
	filename := filepath.Join(deploy, "causeway.yml")
	c, err := load(filename, nil, keyFlags())
	require.NoError(t, err)
	got, err := json.MarshalIndent(c, "", " ")
	require.NoError(t, err)
	want, err := json.MarshalIndent(DefaultConfig(), "", " ")
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "null", "[]"), string(got))

	k := koanf.New(".")
	require.NoError(t, k.Load(file.Provider(filename), yaml.Parser()))
	defaults := DefaultConfig()
	for key := range keys(&defaults) {
		require.True(t, k.Exists(key), "%s is missing", key)
	}
}

// environment turns the variables of a container into what load takes.
func environment(t *testing.T, variables map[string]string) Config {
	t.Helper()
	var environ []string
	for name, value := range variables {
		environ = append(environ, name+"="+value)
	}
	c, err := load("", environ, keyFlags())
	require.NoError(t, err)
	require.NoError(t, c.Validate())
	return c
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(deploy, "Dockerfile"))
	require.NoError(t, err)
	variables := make(map[string]string)
	for _, m := range regexp.MustCompile(`(CAUSEWAY_\w+)=(\S+)`).FindAllStringSubmatch(string(text), -1) {
		variables[m[1]] = m[2]
	}
	c := environment(t, variables)
	require.Equal(t, "/data", c.Bridge.NATS.Store)

	_, image, ok := strings.Cut(string(text), "\nFROM scratch\n")
	require.True(t, ok)
	require.Regexp(t, `(?m)^USER 65532:65532$`, image)
	require.Regexp(t, `(?m)^VOLUME /data$`, image)
	require.Regexp(t, `(?m)^HEALTHCHECK .* CMD \["/causeway", "healthcheck"\]$`, image)
	require.NotContains(t, image, "\nRUN ", "nothing can run there")
}

func TestCompose(t *testing.T) {
	t.Parallel()
	k := koanf.New("/")
	require.NoError(t, k.Load(file.Provider(filepath.Join(deploy, "compose.yml")), yaml.Parser()))
	require.Equal(t, []string{"app", "causeway", "sensor"}, k.MapKeys("services"))

	c := environment(t, k.StringMap("services/causeway/environment"))
	require.Equal(t, "0.0.0.0:1883", c.MQTT.Listen)
	require.Len(t, c.Bridge.Mapping, 1)

	for _, service := range k.MapKeys("services") {
		at := "services/" + service + "/"
		if context := k.String(at + "build/context"); context != "" {
			require.FileExists(t, filepath.Join(deploy, context, k.String(at+"build/dockerfile")))
		}
		for _, volume := range k.Strings(at + "volumes") {
			source, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(source, ".") {
				require.FileExists(t, filepath.Join(deploy, source))
			} else {
				require.True(t, k.Exists("volumes/"+source), source)
			}
		}
		for other := range k.StringMap(at + "depends_on") {
			require.True(t, k.Exists("services/"+other), other)
		}
	}
}

func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(deploy, "causeway.service"))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^Environment=(\w+)=(\S+)$`).FindStringSubmatch(string(text))
	require.NotNil(t, m)
	require.Equal(t, "/var/lib/causeway", environment(t, map[string]string{m[1]: m[2]}).Bridge.NATS.Store)
	for _, command := range regexp.MustCompile(`(?m)^ExecStart(?:Pre)?=\S+ (\w+) --config \S+$`).FindAllStringSubmatch(string(text), -1) {
		_, _, err := newRoot().Find(command[1:2])
		require.NoError(t, err)
	}
}
