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
LDLIBS = $(MPI_LIBS) -ldnnl -lxxhash -lcjson -lm -fopenmp $(EXTRA)

PROGRAMS  := train_gpt2 test_gpt2
ZERO_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard zero/*.c))
LLMC_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard llmc/*.c llmc/cpu/*.c))
TEST_BINS := $(patsubst dev/test/%.c,$(BUILD)/%,$(wildcard dev/test/test_*.c))
SOURCES   := $(wildcard *.cu zero/*.[ch] llmc/*.[ch] llmc/cpu/*.[ch] dev/test/*.[ch])

.PHONY: all help demo deps test test-long test-programs sanitize lint format install clean
.SECONDARY:

all: $(PROGRAMS)

help:
	@echo 'make demo        install what is missing, train a small GPT-2 on the King James Bible with 4 ranks'
	@echo 'make             build $(PROGRAMS)'
	@echo 'make deps        install the packages that building and testing need (Debian, Ubuntu)'
	@echo 'make test        build everything and run the tests, under 15 minutes'
	@echo 'make test-long   the full matrices'
	@echo 'make format      clang-format on all C sources'
	@echo 'make lint        clang-tidy and cppcheck on the product'
	@echo 'make sanitize    the tests of one process under ASan and UBSan, in $(BUILD)-asan'
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

# The tests of one process with address and undefined-behaviour checks. Open MPI is not started in them; what it leaks
# by itself is named in dev/lsan.txt.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
# test_misuse and others whose processes end on purpose with everything in their hands are left out: not leaks.
SANITIZED ?= test_ops test_ops_types test_ops_attention test_partition test_engine test_checkpoint test_config \
             test_batch test_options test_schedulers test_outliers
sanitize:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-asan OPT=-O1 EXTRA='$(SANITIZE)' \
	  $(addprefix $(BUILD)-asan/,$(SANITIZED))
	@for t in $(SANITIZED); do \
	  echo "$$t under ASan and UBSan"; \
	  LSAN_OPTIONS=suppressions=dev/lsan.txt OMP_NUM_THREADS=2 $(BUILD)-asan/$$t || exit 1; \
	done

# clang-tidy 14 ends itself over comm_mpi.c, and clang does not know the vector builtins of GCC in llmc/cpu: cppcheck and
# GCC's own warnings look at those.
LINTED := $(filter-out zero/comm_mpi.c,$(wildcard zero/*.c llmc/*.c))
lint:
	cppcheck -q -D__GNUC__=12 --std=c11 --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
	  --suppress=missingIncludeSystem --suppressions-list=dev/cppcheck.txt -I. zero llmc
	clang-tidy --quiet $(LINTED) -- -std=gnu11 -I. -fopenmp $(MPI_CFLAGS)

format:
	clang-format -i $(SOURCES)

install: train_gpt2
	install -D -m 755 train_gpt2 $(DESTDIR)$(PREFIX)/bin/train_gpt2

clean:
	rm -rf $(BUILD) $(PROGRAMS)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
