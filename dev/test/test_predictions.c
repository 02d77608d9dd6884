// Predictions gathered from the ranks: every rank gets all of them, in the order of the samples, however they were
// shared out. Run alone or under mpirun with any number of ranks.
#include "../../llmc/metrics.h"
#include "../../llmc/predictions.h"
#include "../../zero/comm.h"
#include "check.h"

static ZeroComm *comm;

static double predicted_of(size_t number) {
  return (double)(number * 7919 % 11) / 3.0;
}
static double label_of(size_t number) {
  return (double)(number * 104729 % 13) / 7.0;
}

// Which rank has a sample: micro-batches of 8 in turn, every sample the last rank's, or all but one of them.
enum { IN_TURN, LAST_RANK, ALL_BUT_ONE, WAYS };
static size_t owner_of(size_t number, int way, size_t ranks) {
  const size_t batch = 8;
  if (way == IN_TURN) return number / batch % ranks;
  return way == ALL_BUT_ONE && number == 0 ? 0 : ranks - 1;
}

static void test_gather(void **state) {
  (void)state;
  // none; fewer than ranks; the last piece short; several pieces of every rank
  static const size_t totals[] = {0, 1, 3, 8, 1000, 4096, 4097, 50003};
  const size_t ranks = (size_t)comm->size, rank = (size_t)comm->rank;
  size_t compared = 0;
  for (size_t k = 0; k < sizeof totals / sizeof totals[0]; k++) {
    const size_t total = totals[k];
    for (int way = 0; way < WAYS; way++) {
      Predictions *p = predictions_create(total);
      for (size_t i = 0; i < total; i++) {
        const size_t number = way == IN_TURN ? i : total - 1 - i; // the order in which a rank adds does not matter
        if (owner_of(number, way, ranks) == rank) predictions_add(p, number, predicted_of(number), label_of(number));
      }
      predictions_gather(p, comm);
      for (size_t number = 0; number < total; number++) {
        assert_true(predictions_predicted(p)[number] == predicted_of(number));
        assert_true(predictions_labels(p)[number] == label_of(number));
        compared++;
      }
      predictions_free(p);
    }
  }
  assert_int_equal(compared, 3 * (1 + 3 + 8 + 1000 + 4096 + 4097 + 50003));
}

// The metric is that of one rank, bit for bit.
static void test_metric(void **state) {
  (void)state;
  enum { TOTAL = 10000 };
  static double predicted[TOTAL], labels[TOTAL];
  Predictions *p = predictions_create(TOTAL);
  for (size_t number = 0; number < TOTAL; number++) {
    predicted[number] = predicted_of(number);
    labels[number] = label_of(number);
    if (owner_of(number, IN_TURN, (size_t)comm->size) != (size_t)comm->rank) continue;
    predictions_add(p, number, predicted[number], labels[number]);
  }
  predictions_gather(p, comm);
  const MetricsRegression alone = metrics_regression(predicted, labels, TOTAL);
  const MetricsRegression found = metrics_regression(predictions_predicted(p), predictions_labels(p), TOTAL);
  assert_memory_equal(&found, &alone, sizeof found);
  predictions_free(p);
}

static void add_outside(void *p) {
  predictions_add(p, 3, 0.0, 0.0);
}
static void gather(void *p) {
  predictions_gather(p, comm);
}

static void test_failures(void **state) {
  (void)state;
  Predictions *p = predictions_create(3);
  check_fatal(add_outside, p, "sample 3 is number 1", "at most 3", NULL);
  predictions_add(p, 1, 0.0, 0.0);
  predictions_add(p, 0, 0.0, 0.0);
  check_fatal(gather, p, "2 samples, expected 3", NULL);
  predictions_add(p, 1, 0.0, 0.0);
  check_fatal(gather, p, "sample 1 was predicted twice", NULL);
  check_fatal(add_outside, p, "sample 3 is number 4", NULL);
  predictions_free(p);
}

int main(void) {
  enum { TIME_LIMIT_SECONDS = 60 };
  alarm(TIME_LIMIT_SECONDS); // a deadlock ends here
  comm = zero_comm_create(NULL);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gather), cmocka_unit_test(test_metric)};
  const struct CMUnitTest alone[] = {cmocka_unit_test(test_failures)}; // they fork, which MPI does not bear
  if (comm->rank != 0 && freopen("/dev/null", "w", stdout) == NULL) return ZERO_EXIT_FAILED;
  if (comm->rank != 0) cmocka_set_message_output(CM_OUTPUT_TAP);
  int failed = cmocka_run_group_tests_name("predictions", tests, NULL, NULL);
  if (strcmp(comm->name, "self") == 0) failed += cmocka_run_group_tests_name("bad predictions", alone, NULL, NULL);
  zero_comm_destroy(comm);
  return failed > 0;
}
