/* SPDX-License-Identifier: MIT */
#include "virtio/gpu.h"
