/* SPDX-License-Identifier: MIT */
#include "virtio/input.h"
