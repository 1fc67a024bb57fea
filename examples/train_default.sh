#!/bin/sh
# Makes the weights that ship from their data: three training runs, each from the last, and refining.
#
#   examples/train_default.sh DATA MOBILENET OUTPUT
#
# DATA is a folder with train.jsonl and val.jsonl; MOBILENET the ImageNet weights to begin with, a
# safetensors file in torchvision's layout; OUTPUT the folder for the runs, in which the weights
# will be default.safetensors. Give the same command again to go on after an interruption.
# Some five hours on two CPU cores. The steps are those of dcsearch/weights/default.md.
set -eu

if [ "$#" -ne 3 ]; then
    echo "usage: examples/train_default.sh DATA MOBILENET OUTPUT" >&2
    exit 2
fi
data=$1
mobilenet=$2
output=$3
mkdir -p "$output"

# Trains into a folder, from where an earlier call left off, or not at all where one was done.
train() {
    run=$1
    shift
    if [ -f "$run.done" ]; then
        return
    fi
    if [ -f "$run/state.pt" ]; then
        set -- "$@" --resume
    fi
    dcsearch train "$data" --output "$run" "$@"
    touch "$run.done"
}

train "$output/first" --preset default --backbone-weights "$mobilenet"
train "$output/second" --start "$output/first/model.safetensors" --photo-side 448 --context sum \
    --freeze 7 --steps 2400 --learning-rate 5e-4 --recognition-rate 1.5e-4 --backbone-rate 1.5e-4 \
    --warm-up 100 --name default
train "$output/third" --start "$output/second/model.safetensors" --freeze 7 --steps 2000 \
    --learning-rate 4e-4 --recognition-rate 1.2e-4 --backbone-rate 1.2e-4 --warm-up 100 --seed 1 \
    --name default
dcsearch refine "$data" --output "$output/default.safetensors" \
    --model "$output/third/model.safetensors" --views 1 --steps 800
