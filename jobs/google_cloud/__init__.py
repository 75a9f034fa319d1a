"""Google Cloud: what `endcap` makes, starts and follows there, through Google's own clients."""
