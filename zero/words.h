// Words in messages: what the user may have meant, and text from files made fit to print.
#ifndef ZERO_WORDS_H
#define ZERO_WORDS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ZERO_LONGEST_WORD = 64 }; // of words that are compared

// Letters to insert, delete or replace to get from a to b, without case (Levenshtein's distance). SIZE_MAX if one is
// longer than ZERO_LONGEST_WORD.
size_t zero_edit_distance(const char *a, const char *b);

// Is b near enough to the misspelled word a to be suggested? A third of a's letters may differ.
int zero_words_near(const char *a, const char *b);

// Copies text to out (bytes > 4) for a message: control characters become '?', and what does not fit becomes "...".
// Returns out.
const char *zero_printable(char *out, size_t bytes, const char *text);

#ifdef __cplusplus
}
#endif
#endif
