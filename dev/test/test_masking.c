// Masking: shares to 4 standard deviations, what it is keyed by, special tokens, and that one token is always chosen.
#include <math.h>

#include "../../llmc/masking.h"
#include "check.h"

enum { PAD, UNK, CLS, SEP, MASK, FIRST_WORD, VOCAB = 1000 };
static const SamplesInfo info = {.vocab_size = VOCAB, .pad = PAD, .cls = CLS, .sep = SEP, .mask = MASK};

// [CLS], words, [SEP]; a [PAD] and a [MASK] in between; word i is known by its place.
enum { LENGTH = 512, SPECIALS = 4 };
static void make_text(int text[LENGTH]) {
  for (int t = 0; t < LENGTH; t++) text[t] = FIRST_WORD + t;
  text[0] = CLS;
  text[100] = PAD;
  text[200] = MASK;
  text[LENGTH - 1] = SEP;
}

static MaskingKey key_of(double probability, uint64_t seed, uint64_t epoch, uint32_t sample) {
  const MaskingKey key = {probability, seed, epoch, sample};
  return key;
}

// `hits` of `tries` is what `share` gives, to 4 standard deviations.
static void check_share(size_t hits, size_t tries, double share, const char *what) {
  const double mean = share * (double)tries, deviation = sqrt(mean * (1.0 - share));
  assert_true(tries > 10000);
  if (fabs((double)hits - mean) > 4.0 * deviation) {
    fail_msg("%s: %zu of %zu, expected %.1f +- %.1f", what, hits, tries, mean, deviation);
  }
}

static void test_shares(void **state) {
  (void)state;
  enum { SAMPLES = 2000 };
  size_t candidates = 0, chosen = 0, masked = 0, replaced = 0, stayed = 0, low_half = 0;
  for (uint32_t sample = 0; sample < SAMPLES; sample++) {
    int text[LENGTH], original[LENGTH], positions[LENGTH], targets[LENGTH];
    make_text(original);
    memcpy(text, original, sizeof text);
    const MaskingKey key = key_of(MASKING_PROBABILITY, 42, 3, sample);
    const size_t count = masking_apply(&info, &key, LENGTH, text, positions, targets);
    assert_int_equal(masking_count(&info, &key, LENGTH, original), count);
    candidates += LENGTH - SPECIALS;
    chosen += count;
    size_t changed = 0;
    for (size_t i = 0; i < count; i++) {
      const int at = positions[i];
      assert_true(i == 0 || at > positions[i - 1]);
      assert_int_equal(targets[i], original[at]);
      assert_true(targets[i] >= FIRST_WORD);
      assert_true(text[at] >= 0 && text[at] < VOCAB);
      changed += text[at] != original[at];
      if (text[at] == MASK) {
        masked++;
      } else if (text[at] == original[at]) {
        stayed++;
      } else {
        replaced++;
        low_half += text[at] < VOCAB / 2;
      }
    }
    for (int t = 0; t < LENGTH; t++) changed -= text[t] != original[t];
    assert_int_equal(changed, 0); // nothing else changed
  }
  assert_int_equal(masked + replaced + stayed, chosen);
  check_share(chosen, candidates, 0.15, "chosen");
  // a random token is [MASK], or what stood there, once in VOCAB
  const double same = 1.0 / VOCAB;
  check_share(masked, chosen, 0.8 + 0.1 * same, "[MASK]");
  check_share(replaced, chosen, 0.1 * (1.0 - 2.0 * same), "another token");
  check_share(stayed, chosen, 0.1 + 0.1 * same, "the same token");
  check_share(low_half, replaced, 0.5, "tokens of the lower half");
}

// At how many places two keys give different texts.
static size_t differing(const MaskingKey *a, const MaskingKey *b) {
  int text[2][LENGTH], positions[LENGTH], targets[LENGTH];
  size_t differ = 0;
  for (int k = 0; k < 2; k++) {
    make_text(text[k]);
    masking_apply(&info, k == 0 ? a : b, LENGTH, text[k], positions, targets);
  }
  for (int t = 0; t < LENGTH; t++) differ += text[0][t] != text[1][t];
  return differ;
}

// The same key gives the same; every bit of seed, epoch and sample changes much.
static void test_key(void **state) {
  (void)state;
  const MaskingKey key = key_of(MASKING_PROBABILITY, 42, 5, 77);
  const MaskingKey again = key;
  assert_int_equal(differing(&key, &again), 0);
  for (unsigned bit = 0; bit < 64; bit++) {
    const uint64_t one = UINT64_C(1) << bit;
    const MaskingKey others[] = {key_of(MASKING_PROBABILITY, 42 ^ one, 5, 77),
                                 key_of(MASKING_PROBABILITY, 42, 5 ^ (one & 0xffffffffffff), 77),
                                 key_of(MASKING_PROBABILITY, 42, 5, 77 ^ (uint32_t)one)};
    for (size_t i = 0; i < 3; i++) {
      if (i == 1 && bit >= 48) continue; // no run has 2^48 epochs
      if (i == 2 && bit >= 32) continue;
      // about 2 * 0.15 * 0.9 of 508
      assert_in_range(differing(&key, &others[i]), 70, 210);
    }
  }
}

// A token's draw depends on its position alone: a longer text of the same beginning is masked alike there.
static void test_prefix(void **state) {
  (void)state;
  const MaskingKey key = key_of(0.3, 1, 2, 3);
  int text[2][LENGTH], positions[LENGTH], targets[LENGTH];
  for (int k = 0; k < 2; k++) {
    make_text(text[k]);
    assert_true(masking_apply(&info, &key, k == 0 ? LENGTH : LENGTH / 2, text[k], positions, targets) > 20);
  }
  for (int t = 0; t < LENGTH / 2; t++) assert_int_equal(text[0][t], text[1][t]);
}

// A short sample has one target even where no word fell below the probability; special tokens alone have none.
static void test_at_least_one(void **state) {
  (void)state;
  enum { SAMPLES = 3000, WORDS = 3 };
  size_t where[WORDS] = {0};
  for (uint32_t sample = 0; sample < SAMPLES; sample++) {
    int text[WORDS + 2] = {CLS, 10, 11, 12, SEP}, positions[WORDS + 2], targets[WORDS + 2];
    const MaskingKey key = key_of(0.0, 42, 0, sample);
    assert_int_equal(masking_count(&info, &key, WORDS + 2, text), 1);
    assert_int_equal(masking_apply(&info, &key, WORDS + 2, text, positions, targets), 1);
    assert_in_range(positions[0], 1, WORDS);
    assert_int_equal(targets[0], 9 + positions[0]);
    where[positions[0] - 1]++;
  }
  for (size_t w = 0; w < WORDS; w++) { // each as often: to 4 standard deviations
    const double mean = SAMPLES / (double)WORDS, deviation = sqrt(mean * (1.0 - 1.0 / WORDS));
    assert_true(fabs((double)where[w] - mean) < 4.0 * deviation);
  }
  int text[] = {CLS, PAD, MASK, SEP}, positions[4], targets[4];
  const MaskingKey all = key_of(1.0, 42, 0, 0);
  assert_int_equal(masking_apply(&info, &all, 4, text, positions, targets), 0);
  assert_int_equal(masking_count(&info, &all, 4, text), 0);
  int words[LENGTH];
  make_text(words);
  assert_int_equal(masking_count(&info, &all, LENGTH, words), LENGTH - SPECIALS);
}

// A higher probability chooses the same tokens and more.
static void test_probability(void **state) {
  (void)state;
  size_t before = 0;
  int chosen[LENGTH] = {0};
  for (int percent = 10; percent <= 100; percent += 10) {
    int text[LENGTH], positions[LENGTH], targets[LENGTH];
    make_text(text);
    const MaskingKey key = key_of(percent / 100.0, 7, 0, 1);
    const size_t count = masking_apply(&info, &key, LENGTH, text, positions, targets);
    assert_true(count > before);
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
      found += chosen[positions[i]] == 1;
      chosen[positions[i]] = 1;
    }
    assert_int_equal(found, before);
    before = count;
  }
  assert_int_equal(before, LENGTH - SPECIALS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shares),       cmocka_unit_test(test_key),         cmocka_unit_test(test_prefix),
      cmocka_unit_test(test_at_least_one), cmocka_unit_test(test_probability),
  };
  return cmocka_run_group_tests_name("masking", tests, NULL, NULL);
}
