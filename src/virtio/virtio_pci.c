/* SPDX-License-Identifier: MIT */
#include "virtio/pci.h"
