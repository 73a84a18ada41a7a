package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// rabbitMQ finds the server itself first: what Debian puts on PATH changes to
// a user that may not enter our folder.
func rabbitMQ() (string, error) {
	if found, _ := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"); len(found) > 0 {
		return found[len(found)-1], nil
	}
	program, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return "", errors.New("rabbitmq-server is not on PATH: install RabbitMQ (Debian: apt-get install rabbitmq-server)")
	}
	return program, nil
}

func startRabbitMQ(ctx context.Context, dir string) (*broker, string, error) {
	program, err := rabbitMQ()
	if err != nil {
		return nil, "", err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, "", err
	}
	config := filepath.Join(dir, "rabbitmq")
	text := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nloopback_users = none\n", ports[0])
	if err := os.WriteFile(config+".conf", []byte(text), 0o644); err != nil {
		return nil, "", err
	}
	// Left to itself, RabbitMQ starts a daemon of this that outlives it.
	names, err := start(dir, nil, "epmd", "-address", "127.0.0.1", "-port", strconv.Itoa(ports[2]))
	if err != nil {
		return nil, "", err
	}
	b, err := start(dir, []string{
		"HOME=" + dir, "RABBITMQ_NODENAME=millrace-tests@localhost", "RABBITMQ_CONFIG_FILE=" + config,
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"), "RABBITMQ_LOG_BASE=" + filepath.Join(dir, "logs"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "plugins"), "RABBITMQ_PID_FILE=" + filepath.Join(dir, "pid"),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[1]), fmt.Sprintf("ERL_EPMD_PORT=%d", ports[2]), "ERL_EPMD_ADDRESS=127.0.0.1",
	}, program)
	if err != nil {
		names.stop()
		return nil, "", err
	}
	b.beside = names
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	return b, "MILLRACE_TEST_AMQP=amqp://guest:guest@" + address + "/", b.await(ctx, answers(address))
}
