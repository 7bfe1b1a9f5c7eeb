{{ openedx_tracking_logs('xpro') }}
