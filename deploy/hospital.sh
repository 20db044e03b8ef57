#!/bin/sh
# One hospital's SuperNode. All that it needs is on its own volume, and only its owner wrote there.
set -eu

node_config='data-path="/node/records.csv" state-path="/node/state.sqlite"
 policy-file="/node/policy.yaml" identity-key="/node/identity" peers-file="/node/peers"'
node_config=$(echo "$node_config" | tr -d '\n')

# For the owner's eyes, in this container's log. A node whose cap is spent starts too: it refuses.
tacet node check --node-config "$node_config" || echo "mind the gaps above"

# Runs the code that the policy approves and no other.
exec tacet supernode \
  --superlink superlink:8000 --root-certificates /node/ca.crt \
  --auth-supernode-private-key /node/flower-key --node-config "$node_config"
