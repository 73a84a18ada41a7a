//go:build brokers

// `make test-brokers` starts the brokers that this is run beside.

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRealBrokersAreReadAsDocumented runs what docs/sources.md shows of each
// broker, as it stands but for addresses, and waits for the events.
func TestRealBrokersAreReadAsDocumented(t *testing.T) {
	s := devShell(t)
	dev := s.start(t, "dev", "--listen", "127.0.0.1:"+freePort(t))
	dev.await(dev.out, "Ctrl-C ends it")
	kafka, queue, amqp := os.Getenv("MILLRACE_TEST_KAFKA"), os.Getenv("MILLRACE_TEST_SQS"), os.Getenv("MILLRACE_TEST_AMQP")
	topicAndQueue(t, kafka, queue)
	rabbit, err := url.Parse(amqp)
	if err != nil || kafka == "" || queue == "" || rabbit.Port() == "" {
		t.Fatalf("the brokers' addresses are %q, %q and %q: run this with `make test-brokers`", kafka, queue, amqp)
	}
	there := strings.NewReplacer("127.0.0.1:9092", kafka, "http://127.0.0.1:9324", queue, "127.0.0.1:5672", rabbit.Host, `"port": 5672`, `"port": `+rabbit.Port())
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(shop.Close)
	s.run(t, "endpoint", "create", shop.URL, "--owner", "shop-7") // whom the examples send to
	for _, broker := range []string{"Kafka", "Amazon SQS", "AMQP (RabbitMQ)"} {
		blocks := documented(t, "### "+broker)
		if len(blocks) != 1 {
			t.Fatalf("%s has %d blocks", broker, len(blocks))
		}
		tail := s.start(t, "tail", "--count", "1")
		tail.await(tail.err, "Following the deliveries")
		cmd := exec.Command("bash", "-ec", withExamples(t, there.Replace(blocks[0])))
		cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", broker, err, out)
		}
		wantIn(t, tail.wait(exitDone).out.String(), "order.paid")
	}
}

// withExamples builds the examples that a block runs: it is not run in the
// module's folder.
func withExamples(t *testing.T, block string) string {
	t.Helper()
	before, name, found := strings.Cut(block, "go run ./examples/")
	if !found {
		t.Fatalf("the block runs no example:\n%s", block)
	}
	program := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", program, "../../examples/"+name).CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	return before + program
}

// topicAndQueue makes what must be there.
func topicAndQueue(t *testing.T, kafka, endpoint string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	queues := sqs.New(sqs.Options{Region: "eu-west-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", "")})
	if _, err := queues.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: aws.String("orders")}); err != nil {
		t.Fatal(err)
	}
}
