/* SPDX-License-Identifier: MIT */
#include "vhost/serve.h"
