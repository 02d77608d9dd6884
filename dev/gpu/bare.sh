#!/usr/bin/env bash
# Whether the bundle is whole: an empty folder gets a shell, the C library, the bundle and the emulated trainer, and two
# ranks train there, where nothing else can be found. Needs root (chroot).
#
#   dev/gpu/bare.sh BUNDLE       after `make train_gpt2emu`
set -u
cd "$(dirname "$0")/../.." || exit 1
bundle=${1:?error: bare.sh: give the folder that bundle.sh has made}

[ "$(id -u)" = 0 ] || { echo "skip: not root, so no chroot"; exit 77; }
[ -x train_gpt2emu ] || { echo "error: bare.sh: train_gpt2emu not found; build it with: make train_gpt2emu"; exit 1; }
folder=$(mktemp -d /tmp/zero_bare_XXXXXX)
trap 'umount "$folder/proc" 2> /dev/null; rm -rf "$folder"' EXIT

# A program and the libraries that it loads, but for those that the bundle has to bring.
put() {
  local object library
  for object in "$@"; do
    for library in "$(readlink -f "$object")" $(ldd "$object" | grep -oE '/[^ ]+'); do
      [ -e "$bundle/lib/$(basename "$library")" ] && continue
      mkdir -p "$folder$(dirname "$library")"
      cp -L "$library" "$folder$library" || exit 1
    done
  done
}
mkdir -p "$folder"/{bin,usr/bin,tmp,proc,dev/shm,etc,repo/scripts,repo/bundle}
put /bin/bash /usr/bin/dirname /usr/bin/id /usr/bin/env /usr/bin/setsid
put ./train_gpt2emu
for program in bash dirname id setsid; do cp -L "$(command -v $program)" "$folder/bin/$program"; done
cp -L /usr/bin/env "$folder/usr/bin/env"
cp train_gpt2emu "$folder/repo/"
cp scripts/run.sh "$folder/repo/scripts/"
cp -r "$bundle"/. "$folder/repo/bundle/"
mknod -m 666 "$folder/dev/null" c 1 3
mknod -m 666 "$folder/dev/urandom" c 1 9
echo 'root:x:0:0:root:/root:/bin/bash' > "$folder/etc/passwd"
mount -t proc proc "$folder/proc" 2> /dev/null # hwloc does without where it may not be mounted
python3 - "$folder/repo/tokens.bin" << 'PY'
import array, random, sys
header = array.array("i", [20240520, 1, 2000] + [0] * 253)
with open(sys.argv[1], "wb") as out:
    out.write(header.tobytes() + array.array("H", random.choices(range(72), k=2000)).tobytes())
PY
# shellcheck disable=SC2016 # for the shell in there
chroot "$folder" /bin/bash -c 'cd /repo && . bundle/use.sh && ZERO_COMM=mpi scripts/run.sh 2 ./train_gpt2emu \
  -e L=1,H=1,C=16,T=16,V=72 -i tokens.bin -b 2 -t 16 -d 64 -x 2 -v 0 -s 0 -z 2' > "$folder/log" 2>&1
code=$?
grep -E '^step|rror|not found|cannot' "$folder/log" | head -n 10
[ $code = 0 ] && [ "$(grep -c '^step' "$folder/log")" = 2 ]
