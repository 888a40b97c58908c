#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The Helm chart can be made of the manifests, and values.yaml has exactly the values that its templates use.
set -eu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$1/deploy/chart/make" "$out/chart" 0.0.0
grep -rhoE '\.Values\.[A-Za-z]+' "$out/chart/templates" | sed 's/.*\.//' | sort -u >"$out/used"
sed -nE 's/^([A-Za-z]+):.*/\1/p' "$out/chart/values.yaml" | sort >"$out/there"
diff "$out/there" "$out/used" || { echo "deploy/chart/values.yaml (<) and what the templates use (>) differ" >&2; exit 1; }
echo "$(wc -l <"$out/used") values"
