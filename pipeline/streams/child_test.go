package streams

const childEnv = "STREAMS_TEST_CONSUMER"

func childConsumer() {}
