#!/usr/bin/env bash
# Gathers what a bare GPU machine lacks (it has nvcc, gcc, make and Python, and no package manager): Open MPI, xxHash,
# cJSON and cmocka, headers and libraries, as they are installed here, into one folder that travels with the tree.
#
#   dev/gpu/bundle.sh [FOLDER]      build-gpu/bundle unless given; removed and made anew
#   . FOLDER/use.sh                 on the other machine, from the root of the tree: sets what make and mpirun need
set -u
cd "$(dirname "$0")/../.." || exit 1
folder=${1:-build-gpu/bundle}

fail() {
  echo "error: bundle.sh: $*" >&2
  exit 1
}

command -v mpirun > /dev/null || fail "mpirun not found; install the packages with: make deps"
libraries=/usr/lib/$(gcc -print-multiarch)
[ -d "$libraries/openmpi" ] || fail "$libraries/openmpi not found; only Debian's and Ubuntu's Open MPI is known here"

# Open MPI's parts for fast networks need drivers' libraries that a single machine has no use for.
unneeded='ofi|ucx|uct|openib|verbs|psm|usnic|munge|monitoring|mpi_java|oshmem|scoll|memheap|sshmem|slurm|tm\.so|gridengine|lsf'

rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/lib/openmpi/lib/openmpi3" "$folder/include" "$folder/share" || fail "cannot make $folder"
cp -L "$(command -v orterun)" "$folder/bin/mpirun" || exit 1
cp -rL "$libraries/openmpi/include/." "$folder/include/" || exit 1
cp -rL /usr/share/openmpi "$folder/share/" || exit 1
for header in xxhash.h cjson/cJSON.h cmocka.h; do
  [ -e "/usr/include/$header" ] || fail "/usr/include/$header not found; install the packages with: make deps"
  mkdir -p "$folder/include/$(dirname "$header")"
  cp -L "/usr/include/$header" "$folder/include/$header" || exit 1
done
for plugin in "$libraries"/openmpi/lib/openmpi3/*.so; do
  [[ $(basename "$plugin") =~ $unneeded ]] || cp -L "$plugin" "$folder/lib/openmpi/lib/openmpi3/" || exit 1
done

# What these load, but for the C library and what comes with it.
basic='^(linux-vdso|ld-linux.*|libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|libgomp)\.so'
for object in "$folder/bin/mpirun" "$folder"/lib/openmpi/lib/openmpi3/*.so "$libraries"/lib{mpi,xxhash,cjson,cmocka}.so; do
  echo "$(readlink -f "$object")"
  ldd "$object" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
done | sort -u | while read -r object; do
  name=$(basename "$object")
  case $object in "$PWD/$folder"/*) continue ;; esac
  [[ $name =~ $basic ]] && continue
  # Under the name that the loader asks for.
  soname=$(objdump -p "$object" | awk '$1 == "SONAME" { print $2 }')
  cp -L "$object" "$folder/lib/${soname:-$name}" || exit 1
  ln -sf "${soname:-$name}" "$folder/lib/$(sed -E 's/\.so.*/.so/' <<< "$name")"
done || exit 1
strip --strip-unneeded "$folder"/lib/*.so.* "$folder"/lib/openmpi/lib/openmpi3/*.so "$folder/bin/mpirun" 2> /dev/null

cat > "$folder/use.sh" <<'USE'
# To be sourced: the libraries beside this file for make, the compiler, the loader and mpirun.
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH="$bundle/bin:$PATH" OPAL_PREFIX="$bundle" OPAL_LIBDIR="$bundle/lib" OPAL_PKGLIBDIR="$bundle/lib/openmpi"
export OPAL_DATADIR="$bundle/share" OPAL_PKGDATADIR="$bundle/share/openmpi" OPAL_SYSCONFDIR="$bundle/share/openmpi"
export OMPI_MCA_mca_base_component_path="$bundle/lib/openmpi/lib/openmpi3" OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1
export OMPI_MCA_plm=isolated
export C_INCLUDE_PATH="$bundle/include${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}"
export CPLUS_INCLUDE_PATH="$bundle/include${CPLUS_INCLUDE_PATH:+:$CPLUS_INCLUDE_PATH}"
export LIBRARY_PATH="$bundle/lib${LIBRARY_PATH:+:$LIBRARY_PATH}"
export LD_LIBRARY_PATH="$bundle/lib:/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export MPI_CFLAGS= MPI_LIBS=-lmpi
USE
du -sh "$folder" | awk '{ print "bundle: " $2 ", " $1 }'
