{{ openedx_forum_contents('xpro') }}
