// Words in messages: what the user may have meant, and text from files made fit to print.
#include "words.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

static size_t min3(size_t a, size_t b, size_t c) {
  size_t least = a < b ? a : b;
  return least < c ? least : c;
}

size_t zero_edit_distance(const char *a, const char *b) {
  const size_t rows = strlen(a), columns = strlen(b);
  if (rows > ZERO_LONGEST_WORD || columns > ZERO_LONGEST_WORD) return SIZE_MAX;
  size_t row[ZERO_LONGEST_WORD + 1];
  for (size_t j = 0; j <= columns; j++) row[j] = j;
  for (size_t i = 1; i <= rows; i++) {
    size_t diagonal = row[0]; // distance of the prefixes without their last letters
    row[0] = i;
    for (size_t j = 1; j <= columns; j++) {
      const int differ = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
      const size_t best = min3(row[j] + 1, row[j - 1] + 1, diagonal + (size_t)differ);
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[columns];
}

int zero_words_near(const char *a, const char *b) {
  return zero_edit_distance(a, b) <= (strlen(a) + 1) / 3;
}

const char *zero_printable(char *out, size_t bytes, const char *text) {
  static const char more[] = "...";
  const size_t length = strlen(text), room = bytes - 1;
  size_t kept = length;
  if (length > room) {
    kept = room - (sizeof more - 1);
    while (kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80) kept--; // no half of a UTF-8 character
  }
  for (size_t i = 0; i < kept; i++) out[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
  strcpy(out + kept, length > room ? more : "");
  return out;
}
