select platform, platform_name, platform_url
from (
  values
    ('mitxonline', 'MITx Online', 'https://mitxonline.mit.edu'),
    ('xpro', 'MIT xPRO', 'https://xpro.mit.edu')
) as platforms (platform, platform_name, platform_url)
