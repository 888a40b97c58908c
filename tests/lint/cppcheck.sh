#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cppcheck over every source file of ours. Each suppression has its reason here:
#   missingInclude*      system headers are not read
#   unusedFunction       a library's front door may be used by the next layer only
#   memleak              does not know the cleanup attribute; ASan and LSan watch every test
#   ctuuninitvar         takes an out parameter of a called function for a read
#   checkersReport       a note about the tool itself
#   unmatchedSuppression names differ between versions of the tool
set -eu
cd "$1"
git ls-files '*.c' ':!third_party' ':!tests' ':!bench' >"$2/cppcheck-files"
[ -s "$2/cppcheck-files" ]
mkdir -p "$2/cppcheck"
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -j "$(nproc)" \
	--cppcheck-build-dir="$2/cppcheck" -I . -D_GNU_SOURCE -DCULVERT_VERSION='"0"' \
	--suppress=missingInclude --suppress=missingIncludeSystem --suppress=unusedFunction --suppress=unmatchedSuppression \
	--suppress=memleak --suppress=ctuuninitvar --suppress=checkersReport --file-list="$2/cppcheck-files"
