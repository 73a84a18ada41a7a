package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// One node that is broker and controller (KRaft).
const kafkaProperties = `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
auto.create.topics.enable=false
message.max.bytes=8388608
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
`

func startKafka(ctx context.Context, dir string) (*broker, string, error) {
	classes, err := jars(ctx, "kafka")
	if err != nil {
		return nil, "", err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, "", err
	}
	properties := filepath.Join(dir, "server.properties")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	text := fmt.Sprintf(kafkaProperties, ports[0], ports[1], filepath.Join(dir, "data"))
	if err := os.WriteFile(properties, []byte(text), 0o644); err != nil {
		return nil, "", err
	}
	java := []string{"-Xms256m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classes}
	format := exec.CommandContext(ctx, "java", append(java, "kafka.tools.StorageTool", "format", "-t", "bWlsbHJhY2UtdGVzdHMtMQ", "-c", properties)...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("format its storage: %w\n%s", err, out)
	}
	b, err := start(dir, nil, "java", append(java, "kafka.Kafka", properties)...)
	if err != nil {
		return nil, "", err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	return b, "MILLRACE_TEST_KAFKA=" + address, b.await(ctx, answers(address))
}
