// Events in the shape of Convoy's load scripts, for a running gateway: 201 for each, or k6 fails.
//
//   go install go.k6.io/k6@v1.8.1
//   millrace dev
//   millrace endpoint create https://example.com/webhooks --json
//   k6 run -e BASE_URL=http://127.0.0.1:5005 -e API_KEY=… -e PROJECT_ID=… -e ENDPOINT_ID=… bench/k6/events.js
//
// API_KEY and PROJECT_ID stand in .millrace/dev.json; ENDPOINT_ID is the endpoint's uid. With -e INGEST_URL=… webhooks go
// to the URL of a source with the verifier noop instead; with -e RATE=… -e DURATION=… so many a second for so long.

import http from "k6/http";
import { check } from "k6";

export const options = {
  noConnectionReuse: true,
  scenarios: {
    events: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 20),
      timeUnit: "1s",
      duration: __ENV.DURATION || "5s",
      preAllocatedVUs: 20,
      maxVUs: 1000,
    },
  },
  thresholds: { checks: ["rate==1"] },
};

function event() {
  return JSON.stringify({
    endpoint_id: __ENV.ENDPOINT_ID,
    event_type: "benchmark.event",
    custom_headers: { "X-Benchmark-Timestamp-Ms": Date.now().toString() },
    data: [{ player_name: "ada", email: "ada@example.com", score: -40.25, tags: ["a", "b"], friends: [{ id: 0, name: "Zoë" }] }],
  });
}

export default function () {
  const headers = { "Content-Type": "application/json" };
  let url = `${__ENV.BASE_URL}/api/v1/projects/${__ENV.PROJECT_ID}/events`;
  if (__ENV.INGEST_URL) {
    url = __ENV.INGEST_URL;
    headers["X-Benchmark-Timestamp-Ms"] = Date.now().toString();
  } else {
    headers["Authorization"] = `Bearer ${__ENV.API_KEY}`;
  }
  const answer = http.post(url, event(), { timeout: "30s", headers });
  check(answer, { "answered with 201": (a) => a.status === 201 });
}
