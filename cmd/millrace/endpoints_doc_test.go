package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTheDocumentedEndpointOfKafkaIsDeliveredTo runs what docs/endpoints.md
// shows, as it stands but for the broker's address, beside a running millrace
// dev.
func TestTheDocumentedEndpointOfKafkaIsDeliveredTo(t *testing.T) {
	t.Parallel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	address := cluster.ListenAddrs()[0]
	s := devShell(t)
	dev := s.start(t, "dev", "--listen", "127.0.0.1:"+freePort(t))
	dev.await(dev.out, "Ctrl-C ends it")
	described, made := blocksOf(t, "endpoints.md", "## Kafka", "json"), blocksOf(t, "endpoints.md", "## Making one", "sh")
	if len(described) != 1 || len(made) != 1 {
		t.Fatalf("%d bodies and %d blocks are shown", len(described), len(made))
	}
	body := strings.ReplaceAll(described[0], "localhost:9092", address)
	if err := os.WriteFile(filepath.Join(s.dir, "endpoint.json"), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-ec", made[0])
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wantIn(t, string(out), "kafka://"+address+"/orders", "whsec_", "order.*")
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("orders"), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fetches := client.PollFetches(ctx)
	if records := fetches.Records(); len(records) != 1 || string(records[0].Key) != "7" {
		t.Errorf("%d records arrived: %v", len(records), fetches.Errors())
	}
	for file, says := range map[string]string{
		`{"name": "n", "kafka": {"brokers": ["10.0.0.1:9092"], "topic_name": "t"}}`: "kafka.brokers is refused",
		`kafka`: "refused.json is no JSON object",
	} {
		if err := os.WriteFile(filepath.Join(s.dir, "refused.json"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		s.refuse(t, exitFailed, says, "endpoint", "create", "--from", "refused.json")
	}
	s.refuse(t, exitUsage, "describe it by --from", "endpoint", "create")
}
