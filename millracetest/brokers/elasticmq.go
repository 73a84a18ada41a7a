package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const elasticMQConfig = `
include classpath("application.conf")
node-address { protocol = http, host = "127.0.0.1", port = %[1]d, context-path = "" }
rest-sqs { enabled = true, bind-hostname = "127.0.0.1", bind-port = %[1]d, sqs-limits = strict }
rest-stats { enabled = false }
`

func startElasticMQ(ctx context.Context, dir string) (*broker, string, error) {
	classes, err := jars(ctx, "elasticmq")
	if err != nil {
		return nil, "", err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	config := filepath.Join(dir, "elasticmq.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, elasticMQConfig, ports[0]), 0o644); err != nil {
		return nil, "", err
	}
	b, err := start(dir, nil, "java", "-Xms128m", "-Xmx512m", "-Dconfig.file="+config, "-cp", classes, "org.elasticmq.server.Main")
	if err != nil {
		return nil, "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	return b, "MILLRACE_TEST_SQS=http://" + address, b.await(ctx, answers(address))
}
