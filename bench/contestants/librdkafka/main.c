/* The loops that librdkafka's documentation shows, at its defaults. The layout of
 * what is counted stands in bench/board/board.go. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "rdkafka.h"

enum { PARTITIONS = 1024, LATENCIES = 8 * PARTITIONS + 8, FINE = 16, BUCKETS = 64 * FINE };

static volatile sig_atomic_t running = 1;
static uint64_t *words;

static void stop(int sig) {
	(void)sig;
	running = 0;
}

static void die(const char *what, const char *why) {
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static const char *var(const char *name) {
	const char *v = getenv(name);
	return v ? v : "";
}

static void count(int32_t partition, uint64_t n) {
	__atomic_fetch_add(&words[8 * partition], n, __ATOMIC_SEQ_CST);
}

static void late(const void *payload) {
	int64_t sent, ns;
	struct timespec now;
	int bucket;
	memcpy(&sent, payload, sizeof(sent));
	clock_gettime(CLOCK_REALTIME, &now);
	ns = now.tv_sec * 1000000000LL + now.tv_nsec - sent;
	if (ns < FINE) {
		bucket = ns < 0 ? 0 : (int)ns;
	} else {
		int shift = 64 - __builtin_clzll((uint64_t)ns) - 5;
		bucket = FINE * (shift + 1) + (int)(ns >> shift) - FINE;
	}
	__atomic_fetch_add(&words[LATENCIES + bucket], 1, __ATOMIC_SEQ_CST);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
	char err[512];
	if (rd_kafka_conf_set(conf, key, value, err, sizeof(err)) != RD_KAFKA_CONF_OK)
		die(key, err);
}

static void each(rd_kafka_message_t *m, int timing) {
	if (m->err)
		die("consume", rd_kafka_message_errstr(m));
	if (timing)
		late(m->payload);
	count(m->partition, 1);
	rd_kafka_message_destroy(m);
}

int main(void) {
	char err[512];
	const char *mode = var("BENCH_MODE");
	int batch = !strcmp(mode, "batch"), timing = !strcmp(mode, "latency");
	int fd = open(var("BENCH_BOARD"), O_RDWR);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t e;
	rd_kafka_t *rk;

	if (fd < 0)
		die(var("BENCH_BOARD"), "cannot be opened");
	words = mmap(NULL, 8 * (LATENCIES + BUCKETS), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (words == MAP_FAILED)
		die(var("BENCH_BOARD"), "cannot be mapped");
	if (!batch && !timing && strcmp(mode, "process"))
		die(mode, "no mode is called that");
	signal(SIGTERM, stop);
	set(conf, "bootstrap.servers", var("BENCH_BROKERS"));
	set(conf, "group.id", var("BENCH_GROUP"));
	set(conf, "auto.offset.reset", "earliest");
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, err, sizeof(err));
	if (!rk)
		die("rd_kafka_new", err);
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_add(topics, var("BENCH_TOPIC"), RD_KAFKA_PARTITION_UA);
	if ((e = rd_kafka_subscribe(rk, topics)))
		die("subscribe", rd_kafka_err2str(e));
	rd_kafka_topic_partition_list_destroy(topics);

	if (batch) {
		rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
		rd_kafka_message_t *ms[1000];
		while (running) {
			ssize_t n = rd_kafka_consume_batch_queue(queue, 100, ms, 1000);
			for (ssize_t i = 0; i < n; i++)
				each(ms[i], 0);
		}
		rd_kafka_queue_destroy(queue);
	} else {
		while (running) {
			rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 100);
			if (m)
				each(m, timing);
		}
	}
	rd_kafka_consumer_close(rk);
	rd_kafka_destroy(rk);
	return 0;
}
