// Command brokers runs another command beside real brokers: Apache Kafka,
// ElasticMQ (Amazon SQS) and RabbitMQ, each one process on loopback with data
// that is thrown away. Their addresses stand in the command's environment.
//
//	go run ./millracetest/brokers go test -tags brokers ./millracetest/...
//	go run ./millracetest/brokers -only kafka bin/millrace bench brokers
//
//	MILLRACE_TEST_KAFKA   127.0.0.1:<port>
//	MILLRACE_TEST_SQS     http://127.0.0.1:<port>
//	MILLRACE_TEST_AMQP    amqp://guest:guest@127.0.0.1:<port>/
//
// Kafka and ElasticMQ need Java 17 and Maven, which fetches their jars once;
// RabbitMQ needs rabbitmq-server. What is missing is said, with what installs
// it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	only := flag.String("only", "kafka,elasticmq,rabbitmq", "which brokers to run")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "say which command to run beside the brokers: brokers [-only kafka] COMMAND [ARGUMENT …]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, strings.Split(*only, ","), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "brokers:", err)
	}
	os.Exit(code)
}

// run starts the brokers, runs the command, stops the brokers, and answers the
// command's exit code.
func run(ctx context.Context, names, command []string) (code int, err error) {
	dir, err := os.MkdirTemp("", "millrace-brokers-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	env := os.Environ()
	for _, name := range names {
		start, known := starters[name]
		if !known {
			return 2, fmt.Errorf("there is no broker %q: -only takes kafka, elasticmq and rabbitmq", name)
		}
		began := time.Now()
		say("starting %s …", name)
		b, address, err := start(ctx, filepath.Join(dir, name))
		if err != nil {
			return 1, fmt.Errorf("start %s: %w", name, err)
		}
		defer b.stop()
		say("%s runs after %.1f s: %s", name, time.Since(began).Seconds(), address)
		env = append(env, address)
	}
	say("running %s", strings.Join(command, " "))
	began := time.Now()
	code, err = execute(ctx, env, command)
	say("done after %.0f s; stopping the brokers", time.Since(began).Seconds())
	return code, err
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "brokers: "+format+"\n", args...) }

func execute(ctx context.Context, env, command []string) (int, error) {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Env, c.Stdin, c.Stdout, c.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// starters start a broker with its data in a folder, and answer with the
// variable that tells its address.
var starters = map[string]func(ctx context.Context, dir string) (*broker, string, error){
	"kafka": startKafka, "elasticmq": startElasticMQ, "rabbitmq": startRabbitMQ,
}

// jars is a class path of a broker's jars; Maven fetches them once.
func jars(ctx context.Context, profile string) (string, error) {
	home, err := home()
	if err != nil {
		return "", err
	}
	target := filepath.Join(home, "target", profile)
	done := filepath.Join(target, "complete")
	if _, err := os.Stat(done); err != nil {
		for _, tool := range []string{"mvn", "java"} {
			if _, err := exec.LookPath(tool); err != nil {
				return "", fmt.Errorf("%s is not on PATH: install Java 17 and Maven (Debian: apt-get install maven openjdk-17-jre-headless)", tool)
			}
		}
		say("fetching the jars of %s …", profile)
		fetch := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(home, "pom.xml"), "-P", profile, "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+target)
		if out, err := fetch.CombinedOutput(); err != nil {
			return "", fmt.Errorf("fetch the jars with Maven: %w\n%s", err, out)
		}
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			return "", err
		}
	}
	return filepath.Join(target, "*"), nil
}

// home is this command's folder in the module that it is run in.
func home() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's folder: %w", err)
	}
	lines := slices.Collect(strings.Lines(string(out)))
	return filepath.Join(strings.TrimSpace(lines[0]), "millracetest", "brokers"), nil
}
