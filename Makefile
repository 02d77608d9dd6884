# zero.c: builds the trainers and runs their tests. `make help` lists the targets.
CC    ?= gcc
ARCH  ?= native
BUILD ?= build
OPT   ?= -O3
EXTRA ?=
PREFIX ?= /usr/local

# V=1 shows the whole commands.
QUIET := $(if $(V),,@)

MPI_CFLAGS := $(shell mpicc --showme:compile 2>/dev/null)
MPI_LIBS   := $(shell mpicc --showme:link 2>/dev/null)

# -ffast-math is not used: it would take away the tests for infinity and NaN.
CFLAGS = -std=gnu11 -Wall -Wextra -Werror $(OPT) -g -march=$(ARCH) -mprefer-vector-width=512 -ffp-contract=fast \
         -fno-math-errno -fopenmp -MMD -MP -I. $(MPI_CFLAGS) $(EXTRA)
LDLIBS = $(MPI_LIBS) -ldnnl -lxxhash -lm -fopenmp $(EXTRA)

PROGRAMS  := train_gpt2 test_gpt2
ZERO_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard zero/*.c))
LLMC_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard llmc/*.c llmc/cpu/*.c))
TEST_BINS := $(patsubst dev/test/%.c,$(BUILD)/%,$(wildcard dev/test/test_*.c))
SOURCES   := $(wildcard *.cu zero/*.[ch] llmc/*.[ch] llmc/cpu/*.[ch] dev/test/*.[ch])

.PHONY: all help demo deps test test-long test-programs format install clean
.SECONDARY:

all: $(PROGRAMS)

help:
	@echo 'make demo        install what is missing, train a small GPT-2 on the King James Bible with 4 ranks'
	@echo 'make             build $(PROGRAMS)'
	@echo 'make deps        install the packages that building and testing need (Debian, Ubuntu)'
	@echo 'make test        build everything and run the tests, under 15 minutes'
	@echo 'make test-long   the full matrices'
	@echo 'make format      clang-format on all C sources'
	@echo 'make install     copy train_gpt2 to $$(PREFIX)/bin, $(PREFIX)/bin unless PREFIX is given'
	@echo 'make clean       remove what was built'
	@echo 'Variables: ARCH=native (processor), OPT=-O3, EXTRA= (more flags), BUILD=build (folder), CC=gcc, V=1 (show commands)'

demo: deps
	@$(MAKE) --no-print-directory train_gpt2
	@scripts/run_demo.sh

deps:
	@scripts/install_deps.sh

test: deps
	@$(MAKE) --no-print-directory test-programs
	@dev/test/run_all.sh

test-long: deps
	@$(MAKE) --no-print-directory test-programs
	@dev/test/run_all.sh --long

test-programs: $(PROGRAMS) $(TEST_BINS)

# Without the packages the compiler's message would name a header, not what to do.
$(BUILD)/packages:
	@scripts/install_deps.sh --check
	@mkdir -p $(BUILD) && touch $@

test_gpt2: $(BUILD)/dev/test/fixture.o
$(PROGRAMS): %: $(BUILD)/%.o $(LLMC_OBJS) $(ZERO_OBJS)
	@echo 'link $@'
	$(QUIET)$(CC) $^ -o $@ $(LDLIBS)

# Unit tests: each dev/test/test_NAME.c is a program of its own, $(BUILD)/test_NAME.
$(TEST_BINS): $(BUILD)/%: $(BUILD)/dev/test/%.o $(LLMC_OBJS) $(ZERO_OBJS)
	@echo 'link $@'
	$(QUIET)$(CC) $^ -o $@ -lcmocka $(LDLIBS)

$(BUILD)/%.o: %.c Makefile | $(BUILD)/packages
	@mkdir -p $(@D)
	@echo 'cc $<'
	$(QUIET)$(CC) $(CFLAGS) -c $< -o $@

# The trainers are written in the common subset of C and C++: here as C, for the CPU.
$(BUILD)/%.o: %.cu Makefile | $(BUILD)/packages
	@mkdir -p $(@D)
	@echo 'cc $<'
	$(QUIET)$(CC) -x c $(CFLAGS) -c $< -o $@

format:
	clang-format -i $(SOURCES)

install: train_gpt2
	install -D -m 755 train_gpt2 $(DESTDIR)$(PREFIX)/bin/train_gpt2

clean:
	rm -rf $(BUILD) $(PROGRAMS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
