/* SPDX-License-Identifier: MIT */
#include "virtio/virtq.h"
