# zero.c: builds the trainers and runs their tests. `make help` lists the targets.
CC    ?= gcc
ARCH  ?= native
BUILD ?= build
OPT   ?= -O3
EXTRA ?=
PREFIX ?= /usr/local

# V=1 shows the whole commands.
QUIET := $(if $(V),,@)

# USE_MPI=0: the programs without MPI. Ranks then start by -pi tcp or fs; the tests and the emulator need MPI.
USE_MPI ?= 1
WITH_MPI := $(filter-out 0,$(USE_MPI))
MPI_CFLAGS := $(if $(WITH_MPI),$(shell mpicc --showme:compile 2>/dev/null))
MPI_LIBS   := $(if $(WITH_MPI),$(shell mpicc --showme:link 2>/dev/null))
MPI_SOURCES := $(wildcard zero/comm_mpi.c zero/comm_shm*.c)

# -ffast-math is not used: it would take away the tests for infinity and NaN.
CFLAGS = -std=gnu11 -Wall -Wextra -Werror $(OPT) -g -march=$(ARCH) -mprefer-vector-width=512 -ffp-contract=fast \
         -fno-math-errno -fopenmp -MMD -MP -I. $(MPI_CFLAGS) $(EXTRA)
LDLIBS = $(MPI_LIBS) -ldnnl -lxxhash -lcjson -lm -fopenmp $(EXTRA)

PROGRAMS  := train_gpt2 train_bert test_gpt2 test_bert
ZERO_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(if $(WITH_MPI),,$(MPI_SOURCES)),$(wildcard zero/*.c)))
LLMC_OBJS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard llmc/*.c llmc/cpu/*.c))
TEST_BINS := $(patsubst dev/test/%.c,$(BUILD)/%,$(wildcard dev/test/test_*.c))
BENCH_PROGRAMS := $(BUILD)/bench_gemm $(BUILD)/bench_collectives
SOURCES   := $(wildcard *.cu zero/*.[ch] llmc/*.[ch] llmc/cpu/*.[ch] dev/test/*.[ch] dev/bench/*.c dev/reference/*.c dev/fuzz/*.[ch] llmc/cuda/*.cu* zero/*.cu* \
             dev/cudaemu/*.cc dev/cudaemu/*.cu dev/cudaemu/*.h dev/cudaemu/include/*.h dev/cudaemu/include/cudaemu/*.h)

.PHONY: all help demo demo-bert deps bench test test-long test-programs emu-tests emu-asan emu-tsan sanitize fuzz lint format install clean
.SECONDARY:

all: $(PROGRAMS)

help:
	@echo 'make demo        install what is missing, train a small GPT-2 on the King James Bible with 4 ranks'
	@echo 'make demo-bert   the same with a BERT: pretraining, then two tasks, against counts of words'
	@echo 'make             build $(PROGRAMS)'
	@echo 'make train_gpt2cu train_bertcu test_gpt2cu test_bertcu     for NVIDIA GPUs, with nvcc (GPU_ARCH=90 for one card)'
	@echo '     … USE_MPI=0              without MPI, train_gpt2 and train_gpt2cu: ranks start by -pi tcp or fs'
	@echo '     … USE_CUDNN=1            attention through cuDNN (CUDNN_PATH: where it is)'
	@echo 'make train_gpt2emu train_bertemu test_gpt2emu test_bertemu   the same sources on dev/cudaemu: slow, for tests'
	@echo 'make deps        install the packages that building and testing need (Debian, Ubuntu)'
	@echo 'make test        build everything and run the tests, under 15 minutes'
	@echo 'make test-long   the full matrices'
	@echo 'make bench       speed against the limits of the machine and against rivals: dev/bench/README.md; BENCH="gemm d12": only these'
	@echo 'make format      clang-format on all C sources'
	@echo 'make lint        clang-tidy and cppcheck on the product'
	@echo 'make sanitize    everything under ASan and UBSan, in $(BUILD)-asan'
	@echo 'make emu-asan emu-tsan   the tests on the emulator with checks of memory, or of races: dev/test/test_cuda.sh --long'
	@echo 'make fuzz        libFuzzer on all readers of files, FUZZ_SECONDS=300 each (clang)'
	@echo 'make install     copy train_gpt2 and train_bert to $$(PREFIX)/bin, $(PREFIX)/bin unless PREFIX is given'
	@echo 'make clean       remove what was built'
	@echo 'Variables: ARCH=native (processor), OPT=-O3, EXTRA= (more flags), BUILD=build (folder), CC=gcc, V=1 (show commands)'

demo: deps
	@$(MAKE) --no-print-directory train_gpt2
	@scripts/run_demo.sh

demo-bert: deps
	@$(MAKE) --no-print-directory train_bert
	@scripts/run_bert_demo.sh

deps:
	@scripts/install_deps.sh

test: deps
	@$(MAKE) --no-print-directory test-programs
	@dev/test/run_all.sh

test-long: deps
	@$(MAKE) --no-print-directory test-programs
	@dev/test/run_all.sh --long

test-programs: $(PROGRAMS) $(TEST_BINS) $(BENCH_PROGRAMS) $(BUILD)/bench_times bert_embeddings

# Without the packages the compiler's message would name a header, not what to do.
$(BUILD)/packages:
	@scripts/install_deps.sh --check $(if $(WITH_MPI),,--without-mpi)
	@mkdir -p $(BUILD) && touch $@

test_gpt2 test_bert: $(BUILD)/dev/test/fixture.o
$(BUILD)/test_gpt2 $(BUILD)/test_bert: $(BUILD)/dev/test/fixture.o
$(PROGRAMS): %: $(BUILD)/%.o $(LLMC_OBJS) $(ZERO_OBJS) $(BUILD)/mpi-choice
	@echo 'link $@'
	$(QUIET)$(CC) $(filter %.o,$^) -o $@ $(LDLIBS)
# With and without MPI a program has one name: linked anew when the choice changes. The objects are the same.
$(BUILD)/mpi-choice: FORCE
	@mkdir -p $(@D)
	@echo 'MPI $(WITH_MPI)' | cmp -s - $@ || echo 'MPI $(WITH_MPI)' > $@

# The same within the build folder: for a build that stands beside the usual one.
$(addprefix $(BUILD)/,$(PROGRAMS)): %: %.o $(LLMC_OBJS) $(ZERO_OBJS) $(BUILD)/mpi-choice
	@echo 'link $@'
	$(QUIET)$(CC) $(filter %.o,$^) -o $@ $(LDLIBS)

# For dev/reference/check_minilm.py.
bert_embeddings: $(BUILD)/dev/reference/bert_embeddings.o $(LLMC_OBJS) $(ZERO_OBJS)
	@echo 'link $@'
	$(QUIET)$(CC) $^ -o $@ $(LDLIBS)

# dev/bench/bench.py: speed against the machine's limits and against rivals. BENCH names parts of it, BENCH_FLAGS is more.
BENCH ?=
BENCH_FLAGS ?=
bench: train_gpt2 $(BENCH_PROGRAMS) $(BUILD)/bench_times
	@python3 dev/bench/bench.py --build $(BUILD) $(if $(BENCH),--only $(BENCH)) $(BENCH_FLAGS)
# train_gpt2 with a clock around the calls that this file names.
TIMED = $(shell sed -nE 's/.*__real_([a-z_]+)\W.*/\1/p; s/^WRAP\W[A-Z_]+, ([a-z_]+),.*/\1/p' dev/bench/times.c | sort -u)
$(BUILD)/bench_times: $(BUILD)/dev/bench/times.o $(BUILD)/train_gpt2.o $(LLMC_OBJS) $(ZERO_OBJS)
	@echo 'link $@'
	$(QUIET)$(CC) $^ -o $@ $(TIMED:%=-Wl,--wrap=%) $(LDLIBS)
$(BENCH_PROGRAMS): $(BUILD)/bench_%: $(BUILD)/dev/bench/%.o $(LLMC_OBJS) $(ZERO_OBJS)
	@echo 'link $@'
	$(QUIET)$(CC) $^ -o $@ $(LDLIBS)

# Unit tests: each dev/test/test_NAME.c is a program of its own, $(BUILD)/test_NAME.
$(BUILD)/test_engine: $(BUILD)/dev/test/engine_cost.o
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

# ---------------------------------------------------------------- CUDA, on a GPU and on the emulator
# The same sources twice: by nvcc for a GPU, by g++ for dev/cudaemu (its README says what that proves).
# GPU_ARCH: 80, 90, … for one card; without it sm_80, sm_90 and PTX for later ones.
NVCC ?= nvcc
GPU_ARCH ?=
CUDNN_SOURCES := $(wildcard llmc/cuda/attention_cudnn*.cu)
CUDA_SOURCES := $(filter-out $(CUDNN_SOURCES),$(wildcard llmc/cuda/*.cu)) zero/device_cuda.cu
# USE_CUDNN=1: attention through cuDNN where it serves; CUDNN_PATH: where its include/ and lib are, unless nvcc knows.
USE_CUDNN ?=
CUDNN_PATH ?=
CUDA_BUILD := $(BUILD)/cuda$(if $(USE_CUDNN),-cudnn)$(GPU_ARCH:%=-sm%)
CUDNN_FLAGS = $(if $(USE_CUDNN),-DUSE_CUDNN $(if $(CUDNN_PATH),-I$(CUDNN_PATH)/include))
CUDNN_LIBS = $(if $(USE_CUDNN),$(if $(CUDNN_PATH),-L$(CUDNN_PATH)/lib64 -L$(CUDNN_PATH)/lib) -lcudnn)
# NCCL where its header is found, in CUDA's folder or the system's; USE_NCCL=0 leaves it out. The emulator has its own.
NCCL_SOURCES := $(wildcard zero/comm_nccl*.cu)
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v $(NVCC) 2>/dev/null)))
NCCL_HEADER := $(firstword $(wildcard $(CUDA_HOME)/include/nccl.h /usr/include/nccl.h))
USE_NCCL ?= $(if $(NCCL_HEADER),1,0)
HOST_OBJS := $(ZERO_OBJS) $(patsubst %.c,$(BUILD)/%.o,$(wildcard llmc/*.c))
NVCC_ARCH = $(if $(GPU_ARCH),-arch=sm_$(GPU_ARCH),-gencode arch=compute_80,code=sm_80 \
              -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90)
NVCC_FLAGS = -std=c++17 -O3 -DZERO_CUDA $(NVCC_ARCH) -I. -Xcompiler -Wall,-Wextra -Werror all-warnings $(MPI_CFLAGS) $(CUDNN_FLAGS)
CUDA_OBJS := $(patsubst %.cu,$(CUDA_BUILD)/%.o,$(CUDA_SOURCES) $(if $(USE_CUDNN),$(CUDNN_SOURCES)))
ifeq ($(USE_NCCL),1)
CUDA_OBJS += $(NCCL_SOURCES:%.cu=$(CUDA_BUILD)/%.o)
NCCL_LIBS := -lnccl
else
NCCL_NOTE := $(BUILD)/without_nccl
endif
$(BUILD)/without_nccl:
	@mkdir -p $(@D) && touch $@
	@echo 'note: without NCCL: nccl.h was not found (libnccl-dev) or USE_NCCL=0 was given; several GPUs exchange through MPI'
# With and without cuDNN, and for every card, a program has one name: made anew when the choice changes.
$(BUILD)/cuda-choice: FORCE
	@mkdir -p $(@D)
	@echo '$(CUDA_BUILD)' | cmp -s - $@ || echo '$(CUDA_BUILD)' > $@
.PHONY: FORCE
FORCE:
train_gpt2cu train_bertcu test_gpt2cu test_bertcu: %cu: $(CUDA_BUILD)/%.o $(CUDA_OBJS) $(HOST_OBJS) $(BUILD)/dev/test/fixture.o $(BUILD)/cuda-choice $(BUILD)/mpi-choice | $(NCCL_NOTE)
	@echo 'link $@'
	$(QUIET)$(NVCC) $(NVCC_ARCH) $(filter %.o,$^) -o $@ -lcublasLt $(CUDNN_LIBS) $(NCCL_LIBS) $(MPI_LIBS) -lxxhash -lcjson -lgomp
# Whether cuDNN takes our graphs, on GPUs that need not be there: dev/test/test_cudnn.sh.
$(CUDA_BUILD)/cudnn_plans: $(CUDA_BUILD)/dev/test/cudnn_plans.o $(CUDNN_SOURCES:%.cu=$(CUDA_BUILD)/%.o) $(ZERO_OBJS) $(BUILD)/llmc/plan_places.o
	@echo 'link $@'
	$(QUIET)$(NVCC) $(NVCC_ARCH) $^ -o $@ $(CUDNN_LIBS) $(MPI_LIBS) -lxxhash -lcjson -lgomp
$(CUDA_BUILD)/%.o: %.cu Makefile | $(BUILD)/packages
	@mkdir -p $(@D)
	@echo 'nvcc $<'
	$(QUIET)$(NVCC) $(NVCC_FLAGS) -MMD -MP -c $< -o $@

# The tests of the operations and of the device, on a GPU: dev/gpu_check.sh runs them.
CUDA_TESTS := $(patsubst %,$(CUDA_BUILD)/%,test_ops test_ops_bert test_ops_attention test_device)
# The runtime library is shared there: linked statically, its own malloc would be wrapped as well.
PINNED := $(foreach name,malloc calloc realloc aligned_alloc free,-Xlinker --wrap=$(name))
$(CUDA_BUILD)/test_ops $(CUDA_BUILD)/test_ops_bert $(CUDA_BUILD)/test_ops_attention: $(CUDA_BUILD)/dev/gpu/pinned_malloc.o
$(CUDA_TESTS): $(CUDA_BUILD)/%: $(CUDA_BUILD)/dev/test/%.o $(CUDA_OBJS) $(HOST_OBJS)
	@echo 'link $@'
	$(QUIET)$(NVCC) $(NVCC_ARCH) -cudart shared $(filter %.o,$^) -o $@ $(if $(findstring pinned,$^),$(PINNED)) -lcublasLt $(CUDNN_LIBS) $(NCCL_LIBS) -lcmocka $(MPI_LIBS) -lxxhash -lcjson -lgomp
$(CUDA_BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo 'cc $<'
	$(QUIET)$(CC) $(CFLAGS) -DZERO_CUDA -I$(CUDA_HOME)/include -c $< -o $@

# EMU_CHECKS: more flags for the kernels; EMU_OWN: for the emulator itself; EMU_LINK: for its programs.
EMU_FLAGS = -std=c++17 -g -march=$(ARCH) -DZERO_CUDA -DZERO_CUDA_EMULATOR -Idev/cudaemu/include -I. -fno-strict-aliasing \
            -Wall -Wextra -Werror -Wno-unknown-pragmas -MMD -MP $(MPI_CFLAGS)
EMU_OBJS := $(patsubst %.cc,$(BUILD)/emu/%.o,$(wildcard dev/cudaemu/*.cc)) $(patsubst %.cu,$(BUILD)/emu/%.o,$(CUDA_SOURCES) $(NCCL_SOURCES))
train_gpt2emu train_bertemu test_gpt2emu test_bertemu: %emu: $(BUILD)/emu/%.o $(EMU_OBJS) $(HOST_OBJS) $(BUILD)/dev/test/fixture.o
	@echo 'link $@'
	$(QUIET)$(CXX) $^ -o $@ $(MPI_LIBS) -lxxhash -lcjson -lm -ldl -fopenmp
# Planted misuse of NCCL.
$(BUILD)/emu/test_nccl: $(BUILD)/emu/dev/cudaemu/test_nccl.o $(EMU_OBJS) $(HOST_OBJS)
	@echo 'link $@'
	$(QUIET)$(CXX) $^ -o $@ $(MPI_LIBS) -lxxhash -lcjson -lm -ldl -fopenmp
# The tests of the operations and of the device, on the emulator.
EMU_TESTS := $(patsubst %,$(BUILD)/emu/%,test_ops test_ops_bert test_ops_attention test_device test_comm)
$(EMU_TESTS): $(BUILD)/emu/%: $(BUILD)/emu/dev/test/%.o $(EMU_OBJS) $(HOST_OBJS)
	@echo 'link $@'
	$(QUIET)$(CXX) $^ -o $@ -lcmocka $(MPI_LIBS) -lxxhash -lcjson -lm -ldl -fopenmp $(EMU_LINK)
emu-tests: $(EMU_TESTS)
$(BUILD)/emu/dev/test/%.o: dev/test/%.c Makefile
	@mkdir -p $(@D)
	@echo 'cc $<'
	$(QUIET)$(CC) $(CFLAGS) -DZERO_CUDA -c $< -o $@
$(BUILD)/emu/%.o: %.cc Makefile
	@mkdir -p $(@D)
	@echo 'c++ $<'
	$(QUIET)$(CXX) $(EMU_FLAGS) -O3 $(EMU_OWN) -c $< -o $@
$(BUILD)/emu/%.o: %.cu Makefile
	@mkdir -p $(@D)
	@echo 'c++ $<'
	$(QUIET)$(CXX) -x c++ $(EMU_FLAGS) -O2 $(EMU_CHECKS) -c $< -o $@

# The tests on the emulator once more: with the checks of memory, and with the race check (dev/cudaemu/README.md says
# what each of them finds), in builds of their own.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
EMU_ASAN := $(BUILD)-emu-asan
EMU_TSAN := $(BUILD)-emu-tsan
emu-asan:
	@$(MAKE) --no-print-directory BUILD=$(EMU_ASAN) OPT=-O1 EXTRA='$(SANITIZE)' EMU_OWN='-O2 $(SANITIZE)' \
	  EMU_CHECKS='-O1 $(SANITIZE) --param asan-instrumentation-with-call-threshold=0' EMU_LINK='$(SANITIZE)' emu-tests
emu-tsan:
	@$(MAKE) --no-print-directory BUILD=$(EMU_TSAN) EMU_OWN='-O2 -DCUDAEMU_TSAN' EMU_CHECKS='-O1 -fsanitize=thread' \
	  EMU_LINK=-fsanitize=thread emu-tests

# Everything again with address and undefined-behaviour checks; SANITIZED: the tests, as dev/test/run_sanitized.sh
# knows them. What Open MPI leaks by itself is named in dev/lsan.txt.
SANITIZED ?= all
sanitize:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-asan OPT=-O1 EXTRA='$(SANITIZE)' \
	  $(if $(filter all,$(SANITIZED)),$(addprefix $(BUILD)-asan/,$(PROGRAMS)) $(TEST_BINS:$(BUILD)/%=$(BUILD)-asan/%), \
	    $(addprefix $(BUILD)-asan/,$(SANITIZED)))
	@BUILD=$(BUILD)-asan dev/test/run_sanitized.sh $(SANITIZED)

# libFuzzer on everything that reads a file of the user's: each dev/fuzz/fuzz_NAME.c for so many seconds, with clang.
# What it found interesting stays in $(BUILD)/fuzz/corpus_NAME, a finding ends it with the input's file name.
FUZZ_SECONDS ?= 300
FUZZED ?= $(patsubst dev/fuzz/fuzz_%.c,%,$(wildcard dev/fuzz/fuzz_*.c))
FUZZ_FLAGS := -std=gnu11 -g -O1 -fno-sanitize-recover=undefined -I. $(MPI_CFLAGS)
FUZZ_OBJS := $(patsubst %.c,$(BUILD)/fuzz/%.o,$(wildcard zero/*.c llmc/*.c))
FUZZ_DICT := $(BUILD)/fuzz/words.dict
fuzz: $(addprefix $(BUILD)/fuzz/fuzz_,$(FUZZED)) $(FUZZ_DICT)
	@for name in $(FUZZED); do \
	  mkdir -p $(BUILD)/fuzz/corpus_$$name; \
	  echo "fuzz_$$name, $(FUZZ_SECONDS) s"; \
	  $(BUILD)/fuzz/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -dict=$(FUZZ_DICT) \
	    -artifact_prefix=$(BUILD)/fuzz/ -verbosity=0 -print_final_stats=1 $(BUILD)/fuzz/corpus_$$name \
	    $$(ls -d dev/fuzz/seeds_$$name 2> /dev/null) || exit 1; \
	done
	@rm -rf /dev/shm/zero_c_fuzz_*

$(BUILD)/fuzz/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(QUIET)clang $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,address,undefined -MMD -MP -c $< -o $@

# A library, so that a target takes only what it calls: no MPI starts.
$(BUILD)/fuzz/libreaders.a: $(FUZZ_OBJS)
	$(QUIET)ar rcs $@ $^

$(BUILD)/fuzz/fuzz_%: dev/fuzz/fuzz_%.c dev/fuzz/fuzz.h $(BUILD)/fuzz/libreaders.a
	@echo 'clang $<'
	$(QUIET)clang $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined $< $(BUILD)/fuzz/libreaders.a -o $@ \
	  $(MPI_LIBS) -lxxhash -lcjson -lm

# The words of the configuration file and the magic numbers of llm.c's files.
$(FUZZ_DICT): zero/config_keys.c Makefile
	@mkdir -p $(@D)
	@sed -n 's/.*[A-Z]("\([a-z_0-9]*\)".*/"\"\1\":"/p' $< | sort -u > $@
	@for magic in 20240326 20240520 20240328 20261128; do \
	  printf '"%s"\n' "$$(printf '\\x%02x' $$((magic & 255)) $$((magic >> 8 & 255)) $$((magic >> 16 & 255)) $$((magic >> 24)))"; \
	done >> $@

# Clang does not know the vector builtins of GCC in llmc/cpu: cppcheck and GCC's own warnings look at those.
LINTED := $(wildcard zero/*.c llmc/*.c)
lint:
	cppcheck -q -D__GNUC__=12 --std=c11 --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
	  --suppress=missingIncludeSystem --suppressions-list=dev/cppcheck.txt -I. zero llmc
	clang-tidy --quiet $(LINTED) -- -std=gnu11 -I. -fopenmp $(MPI_CFLAGS)

format:
	clang-format -i $(SOURCES)

install: train_gpt2 train_bert
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $^ $(DESTDIR)$(PREFIX)/bin

clean:
	rm -rf $(BUILD) $(BUILD)-emu-asan $(BUILD)-emu-tsan $(PROGRAMS) train_gpt2cu test_gpt2cu test_bertcu train_gpt2emu test_gpt2emu train_bertcu train_bertemu test_bertemu bert_embeddings

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
