#!/bin/sh
# Makes the weights that ship from their data: three training runs of a small network, which is refined, two
# of one with several maps, which begins with its words and is refined, a longer one of that, and refining,
# measuring and words of the result.
#
#   examples/train_default.sh DATA MORE MOBILENET DETECTOR OUTPUT
#
# DATA and MORE are folders with train.jsonl, the first with val.jsonl too; MOBILENET is a safetensors file
# of ImageNet's weights, DETECTOR one of a detector's, both of MobileNetV2 in torchvision's layout; OUTPUT
# is the folder for the runs, in which the weights will be default.safetensors. Give the same command again
# to go on after an interruption. Some eight hours on two CPU cores. The steps are those of
# dcsearch/weights/default.md.
set -eu

if [ "$#" -ne 5 ]; then
    echo "usage: examples/train_default.sh DATA MORE MOBILENET DETECTOR OUTPUT" >&2
    exit 2
fi
data=$1
more=$2
mobilenet=$3
detector=$4
output=$5
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
    dcsearch train --output "$run" "$@"
    touch "$run.done"
}

train "$output/first" "$data" --preset default --backbone-weights "$mobilenet"
train "$output/second" "$data" --start "$output/first/model.safetensors" --photo-side 448 \
    --context sum --freeze 7 --steps 2400 --learning-rate 5e-4 --recognition-rate 1.5e-4 \
    --backbone-rate 1.5e-4 --warm-up 100 --name default
train "$output/third" "$data" --start "$output/second/model.safetensors" --freeze 7 --steps 2000 \
    --learning-rate 4e-4 --recognition-rate 1.2e-4 --backbone-rate 1.2e-4 --warm-up 100 --seed 1 \
    --name default
if [ ! -f "$output/small.safetensors" ]; then
    dcsearch refine "$data" --output "$output/small.safetensors" \
        --model "$output/third/model.safetensors" --views 1 --steps 800
fi
train "$output/fourth" "$data" "$more:0.7" --start "$output/small.safetensors" \
    --network mobilenet-v2-pyramid --tensorflow-padding --backbone-weights "$detector" \
    --photo-side 320 --freeze 5 --rare .02 --steps 1500 --parts 2 --learning-rate 8e-4 \
    --recognition-rate 3e-4 --backbone-rate 2e-4 --warm-up 100 --seed 1 --name default
train "$output/fifth" "$data" "$more:0.7" --start "$output/fourth/model.safetensors" --freeze 5 \
    --rare .02 --steps 900 --parts 2 --learning-rate 6e-4 --recognition-rate 2.4e-4 \
    --backbone-rate 1.6e-4 --warm-up 50 --seed 2 --name default
if [ ! -f "$output/pyramid.safetensors" ]; then
    dcsearch refine "$data" --output "$output/pyramid.safetensors" \
        --model "$output/fifth/model.safetensors" --views 1 --steps 400
fi
train "$output/sixth" "$data" "$more:0.7" --start "$output/pyramid.safetensors" --freeze 5 \
    --rare .02 --steps 5000 --parts 2 --learning-rate 8e-4 --recognition-rate 3e-4 \
    --backbone-rate 2e-4 --warm-up 100 --seed 3 --name default
if [ ! -f "$output/refined.safetensors" ]; then
    dcsearch refine "$data" --output "$output/refined.safetensors" \
        --model "$output/sixth/model.safetensors" --views 1 --steps 400
fi
dcsearch model calibrate "$data" --output "$output/default.safetensors" \
    --model "$output/refined.safetensors" --force
dcsearch model words "$data" "$more" --model "$output/default.safetensors"
