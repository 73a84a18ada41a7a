package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	millrace "github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/egress"
	"github.com/millrace-dev/millrace/localstores"
	"github.com/millrace-dev/millrace/store"
)

// Dev says how `millrace dev` runs.
type Dev struct {
	// Data is the folder that keeps everything between two starts.
	Data string
	// Listen is the API's address.
	Listen string
	// Notes are told what was found and started, a sentence each.
	Notes func(sentence string)
	// Stores, if set, is told of the stores that run.
	Stores func(*localstores.Stores)
	// Ready is called when requests are served and dev.json is written.
	Ready func(DevAccess)
}

// DevAccess is what a program needs to use a running `millrace dev`: the
// content of <data>/dev.json.
type DevAccess struct {
	URL       string `json:"url"`
	ProjectID string `json:"project_id"`
	APIKey    string `json:"api_key"`
}

// DevFile is the name of that file in the data folder.
const DevFile = "dev.json"

// RunDev runs server, agent and egress in one process with a PostgreSQL and a
// Redis of its own, until ctx ends. The configuration is the base for them.
func RunDev(ctx context.Context, c Config, d Dev, o Options) error {
	if err := free(d.Listen); err != nil {
		return err
	}
	local := localstores.DefaultConfig()
	local.Data, local.Logger = d.Data, o.Logger
	stores, err := localstores.Start(ctx, local)
	if err != nil {
		return err
	}
	for _, note := range stores.Notes {
		d.Notes(note)
	}
	if d.Stores != nil {
		d.Stores(stores)
	}
	err = runDevOn(ctx, c, d, o, stores)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Server.ShutdownTimeout)
	defer cancel()
	return errors.Join(err, stores.Stop(stop))
}

func runDevOn(ctx context.Context, c Config, d Dev, o Options, stores *localstores.Stores) error {
	c, err := c.forDev(d, stores)
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx, c.Postgres.URL, store.Up); err != nil {
		return err
	}
	access, err := devAccess(ctx, c, d.Data)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-stores.Died():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	var notWritten error
	o.Server, o.Agent, o.Egress = true, true, true
	o.Ready = func(a Addresses) {
		access.URL = a.URL
		if notWritten = writeAccess(d.Data, access); notWritten != nil {
			cancel(notWritten)
			return
		}
		d.Ready(access)
	}
	err = Run(ctx, c, o)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// forDev puts the stores of the data folder into the configuration, opens the
// loopback for endpoints, lends them the credentials of its own user, and says
// yes only after the commit where Redis is in memory.
func (c Config) forDev(d Dev, stores *localstores.Stores) (Config, error) {
	c.Server.Listen = d.Listen
	c.Postgres.URL, c.Redis.URL = stores.PostgresURL, stores.RedisURL
	if stores.RedisInMemory {
		c.Stages.Ingest.Ack = millrace.AckPersisted
	}
	key, err := devKey(d.Data)
	if err != nil {
		return c, err
	}
	if len(c.Secrets.Keys) == 0 {
		c.Secrets.Keys = []millrace.Sensitive{key}
	}
	address, err := freeAddress()
	if err != nil {
		return c, err
	}
	c.Egress.Listen, c.Egress.AllowLoopback = address, true
	c.Webhook.LendCredentials = true // whoever uses it is who started it
	c.Egress.Token = egress.Secret(store.NewKey())
	c.Egress.Proxies = []string{"http://" + address}
	return c, c.Validate()
}

// devKey is the key ring of the data folder, made at the first start.
func devKey(data string) (millrace.Sensitive, error) {
	path := filepath.Join(data, "secrets.key")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text = []byte(store.NewKey())
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("the key that seals secrets: %w", err)
	}
	return millrace.Sensitive(strings.TrimSpace(string(text))), nil
}

// devAccess finds the project and key of the last start, or makes them.
func devAccess(ctx context.Context, c Config, data string) (DevAccess, error) {
	ring, err := c.Secrets.ring()
	if err != nil {
		return DevAccess{}, err
	}
	s, err := store.Open(ctx, c.Postgres, ring)
	if err != nil {
		return DevAccess{}, err
	}
	defer func() { _ = s.Close() }()
	ctx = millrace.WithActor(ctx, "millrace dev")
	var last DevAccess
	if text, err := os.ReadFile(filepath.Join(data, DevFile)); err == nil && json.Unmarshal(text, &last) == nil {
		if key, err := s.Authenticate(ctx, last.APIKey); err == nil && key.ProjectID.String() == last.ProjectID {
			return last, nil
		}
	}
	project, err := s.CreateProject(ctx, millrace.Project{Name: "dev", Type: "outgoing", Config: millrace.DefaultProjectConfig()})
	if err != nil {
		return DevAccess{}, err
	}
	key, _, err := s.CreateAPIKey(ctx, millrace.APIKey{ProjectID: project.ID, Name: "dev"})
	return DevAccess{ProjectID: project.ID.String(), APIKey: key}, err
}

// writeAccess replaces dev.json in one step.
func writeAccess(data string, a DevAccess) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	path := filepath.Join(data, DevFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", DevFile, err)
	}
	return os.Rename(path+".new", path)
}

// free tells early and in one sentence that the API's port is taken.
func free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("the address %s cannot be used: %w; choose another with --listen", address, errors.Unwrap(err))
	}
	return l.Close()
}

// freeAddress picks a port of the loopback for the egress.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a port for the egress: %w", err)
	}
	return l.Addr().String(), l.Close()
}
