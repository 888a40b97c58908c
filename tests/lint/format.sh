#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C file is as clang-format leaves it.
set -eu
cd "$1"
files=$(git ls-files '*.c' '*.h' ':!third_party')
[ -n "$files" ]
# shellcheck disable=SC2086
clang-format --dry-run -Werror $files
